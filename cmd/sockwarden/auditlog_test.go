package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sockwarden/collectors/socklab"
)

// recipes are the questions of docs/audit-log.md, and what the answers must match for the
// log of TestAuditRecipes.
var recipes = map[string][]string{
	"Who cut my connection at 02:13?": {`(?m)^\S+ destroy by rd-leak: gone, hbbs\[\d+\] port 21118 <- 127\.0\.0\.1:PORT$`},
	"Which socket was it, and why did the rule take it?": {
		`(?m)^\S+ rd-leak: act \(CLOSE_WAIT for [0-9.?]+s, \d to read, cookie [0-9a-f]+\)$`,
		`(?m)^\S+ rd-leak: gone \(CLOSE_WAIT `,
	},
	"What was done in that hour?":                    {`(?m)^[0-9:]{8}\trd-leak\tdestroy\tgone\thbbs\t21118$`},
	"What was done to each process?":                 {`^2 hbbs\[\d+\] destroy: gone\n1 web\[\d+\] exec: failed\n$`},
	"What failed?":                                   {`^\S+ hook exec .*: failed .*1\n$`},
	"What was decided, and then nothing came of it?": {`^\S+ slow: web\[\d+\] port 8443\n$`},
	"What was spared, and why?":                      {`(?m)^2 rd-leak: limited, per_cycle 2 reached$`},
	"What would the dry run have cut?":               {`^2 rd-leak: CLOSE_WAIT port 21118, hbbs\n1 hook: CLOSE_WAIT port 8443, web\n$`},
	"Which rules did most today?":                    {`^2 rd-leak: 2 gone\n1 hook: 1 failed\n$`},
	"Who did it, and is the log whole?":              {`^0 lines lost\n\d+ lines by .*, dry-run\n\d+ lines by .*, live\n$`},
}

// auditedRules cut two of three leaks, and run a program that fails.
const auditedRules = `version: 1
rules:
  - name: rd-leak
    when: state == "CLOSE_WAIT" and port == 21118
    then: [destroy]
    limits: {per_cycle: 2}
  - name: hook
    when: state == "CLOSE_WAIT" and port == 8443
    then: [{exec: {program: /bin/false}}]
`

// slowRules run a program that does not end.
const slowRules = `version: 1
rules:
  - name: slow
    when: state == "CLOSE_WAIT" and port == 8443
    then: [{exec: {program: PROGRAM, timeout: 1h}}]
`

// makeAuditLog has dry and live runs write one, the last of which is killed while it acts.
func makeAuditLog(t *testing.T) (path string) {
	t.Helper()
	dir := t.TempDir()
	path = filepath.Join(dir, "audit.jsonl")
	ns := socklab.NewNamespace(t, "audited")
	write := func(name, text string, mode os.FileMode) string {
		t.Helper()
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return file
	}
	audited := write("rules.yaml", auditedRules, 0o600)
	slow := write("slow.yaml", strings.Replace(slowRules, "PROGRAM", write("slow", "#!/bin/sh\nsleep 1000\n", 0o700), 1), 0o600)
	life{Comm: "hbbs", Serve: []string{at(21118)}, Leaks: spared(3, at(21118))}.start(t, ns)
	life{Comm: "web", Serve: []string{at(8443)}, Leaks: spared(1, at(8443))}.start(t, ns)
	command := func(rules string, args ...string) *warden {
		t.Helper()
		return startWarden(t, ns, itself(t, append(args, "--rules", rules, "--state-file", "none", "--audit-log", path)...), nil)
	}
	for _, args := range [][]string{{"audit"}, {"run", "--live"}} {
		if w := command(audited, args...); w.exit(t) > exitFailed {
			t.Fatalf("%s: %s", args, w.tail())
		}
	}
	w := command(slow, "run", "--live")
	w.await(t, "a decision of the rule slow", func() bool {
		text, err := os.ReadFile(path)
		return err == nil && strings.Contains(string(text), `"rule":"slow","decision":"act"`)
	})
	if err := w.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	w.exit(t)
	return path
}

// TestAuditRecipes asks the audit log of real runs what docs/audit-log.md asks, about a
// connection that was cut.
func TestAuditRecipes(t *testing.T) {
	if apart(t) {
		return
	}
	socklab.Need(t)
	if _, err := exec.LookPath("jq"); err != nil {
		socklab.Lacks(t, fmt.Errorf("%w; cure: apt-get install jq", err))
	}
	page, err := os.ReadFile(filepath.Join(root, "docs/audit-log.md"))
	if err != nil {
		t.Fatal(err)
	}
	log := makeAuditLog(t)
	cut := firstCut(t, log)
	port := fmt.Sprint(cut.Socket.RemotePort)
	// Longer times first: each is the beginning of the one before.
	here := strings.NewReplacer("2026-11-26T02:13", cut.Time[:16], "2026-11-26T02", cut.Time[:13], "2026-11-26", cut.Time[:10], "203.0.113.9", "127.0.0.1", "51514", port)
	asked := 0
	for _, section := range strings.Split(string(page), "\n## ")[1:] {
		question, text, _ := strings.Cut(section, "\n")
		block := regexp.MustCompile(`(?m)^    jq .*\n(    .*\n)*`).FindString(text)
		want := recipes[question]
		if block == "" || want == nil {
			t.Errorf("%s: no command, or nothing is known of its answer", question)
			continue
		}
		asked++
		cmd := exec.Command("sh", "-c", here.Replace(block))
		cmd.Dir = filepath.Dir(log)
		out, err := cmd.CombinedOutput()
		for _, re := range want {
			if err != nil || !regexp.MustCompile(strings.ReplaceAll(re, "PORT", port)).Match(out) {
				t.Errorf("%s\n%v\n%s\nnot %s", question, err, out, re)
			}
		}
	}
	if asked != len(recipes) {
		t.Errorf("%d questions, expected %d", asked, len(recipes))
	}
}

// cutLine is what the test needs of a line of the log.
type cutLine struct {
	Time, Event, Rule string
	Socket            struct {
		RemotePort int `json:"remote_port"`
	}
}

// firstCut is the first outcome of the rule rd-leak.
func firstCut(t *testing.T, log string) (l cutLine) {
	t.Helper()
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatal(err)
		}
		if l.Event == "outcome" && l.Rule == "rd-leak" {
			return l
		}
	}
	t.Fatalf("nothing was cut:\n%s", text)
	return l
}
