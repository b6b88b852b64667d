package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// threshold is the age in seconds that the rules ask for, and that the load reaches
// before it is measured.
func threshold(quick bool) int {
	if quick {
		return 1
	}
	return 60
}

// ruleTexts are the conditions of the rules files, by name. The load has one CLOSE_WAIT
// in 20 sockets, all on the ports of rustdesk.
var ruleTexts = map[string][]string{
	"narrow":     {`state == "CLOSE_WAIT" && age > timeout && port in rustdesk`},
	"none-match": {`state == "CLOSE_WAIT" && age > timeout && port == 1`},
	"none-old":   {`state == "CLOSE_WAIT" && age > 86400 && port in rustdesk`},
	"unfiltered": {`recv_queue > 1000000000`},
	"namespaces": {`state in ["CLOSE_WAIT", "FIN_WAIT2"] && age > timeout`},
	"owners":     {`process == "no-such-process"`},
	"rules-1":    {`state in ["ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT1", "LAST_ACK"] && port in 21000..21249 && recv_queue > 1000000000`},
	"rules-1000": manyRules(),
}

// manyRules are a thousand rules, one for each state and port, that read the same sockets
// as the rule of rules-1 and, like it, match none.
func manyRules() []string {
	var texts []string
	for i := range 1000 {
		state := []string{"ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT1", "LAST_ACK"}[i%4]
		texts = append(texts, fmt.Sprintf("state == %q && port == %d && recv_queue > 1000000000", state, 21000+i/4))
	}
	return texts
}

func writeRules(dir string) error {
	for name, conditions := range ruleTexts {
		var b strings.Builder
		// No load trips the breaker, however young it is in a quick run.
		b.WriteString("version: 1\nvars: {timeout: 60}\ndefaults: {breaker: {count: 10000000, share: 100%}}\nrules:\n")
		if name == "namespaces" {
			b.Reset()
			b.WriteString("version: 1\nnetns: all\nvars: {timeout: 60}\nrules:\n")
		}
		for i, when := range conditions {
			fmt.Fprintf(&b, "  - {name: r%d, when: '%s', then: [destroy]}\n", i, when)
		}
		if err := os.WriteFile(rulesFile(dir, name), []byte(b.String()), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func rulesFile(dir, name string) string { return filepath.Join(dir, name+".yaml") }
