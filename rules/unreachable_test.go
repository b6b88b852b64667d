package rules

import (
	"fmt"
	"strings"
	"testing"
)

// resultCatalog has actions with results.
func resultCatalog() Catalog {
	c := testCatalog()
	for name, results := range map[string]string{"destroy": "gone fd_still_held refused failed", "signal": "ended still_running done failed", "log": "done", "knock": "done failed"} {
		for i := range c {
			if c[i].Name == name {
				c[i].Results = strings.Fields(results)
			}
		}
	}
	return append(c, ActionSpec{Name: "note", Results: []string{"done"}, Bind: nothingWrong}) // the results of beep are not known
}

// TestUnreachable: a rung that cannot be reached gets a warning, and no other does.
func TestUnreachable(t *testing.T) {
	for then, want := range map[string]string{
		"log, destroy":                                         "destroy: log before it ends with done",
		"destroy, log":                                         "",
		"destroy, {signal: TERM}":                              "",
		"log, note, destroy":                                   "note: log before it ends with done; destroy: log before it ends with done",
		"log, log":                                             "log: log before it",
		"knock, destroy":                                       "",
		"beep, destroy":                                        "",
		"destroy, log, {signal: TERM}":                         "signal", // log alone climbs no further
		`log, {destroy: , if: result == "done"}`:               "",
		`log, {destroy: , if: result != "refused"}`:            "",
		`log, {destroy: , if: result == "refused"}`:            "destroy: log before it ends with done, and its if asks for something else",
		`log, {destroy: , if: 'result in ["failed", "gone"]'}`: "asks for something else",
		`log, {destroy: , if: result == "done" and owned}`:     "",
		`log, {destroy: , if: result == "gone" and owned}`:     "", // not looked into
		`log, {destroy: , if: result == wanted}`:               "", // --var can change it
		`log, {destroy: , if: owned}`:                          "destroy: log before it ends with done",
		`destroy, {signal: TERM, if: result == "fd_still_held"}, {signal: KILL, wait: 1s}`:                      "",
		`destroy, {signal: TERM, if: result == "repaired"}`:                                                     "asks for something else",
		`destroy, {signal: TERM, if: result == "fd_still_held"}, {signal: KILL, if: result == "still_running"}`: "",
		`log, {signal: TERM, if: result == "gone"}, {signal: KILL, if: result == "done"}`:                       "signal: log before it",
		`destroy, {log: , if: result == "refused"}, {signal: TERM, if: result == "fd_still_held"}`:              "",
		`destroy, {log: , if: result == "refused"}, {signal: TERM, if: result == "still_running"}`:              "signal: destroy and log before it ends with",
	} {
		text := fmt.Sprintf("version: 1\nvars: {wanted: gone}\nrules:\n- name: r\n  when: port == 1\n  then:\n    [%s]\n", then)
		dir := writeFiles(t, map[string]string{"rules.yaml": text})
		p, _, err := Load(Options{Catalog: resultCatalog(), Paths: []string{dir + "/rules.yaml"}})
		if err != nil {
			t.Errorf("%s: %v", then, err)
			continue
		}
		var got []string
		for _, w := range ofKind(p.Warnings, idUnreachedRung) {
			if w.Line != 7 {
				t.Errorf("%s: at %d:%d", then, w.Line, w.Column)
			}
			got = append(got, w.Message)
		}
		all := strings.Join(got, "; ")
		for part := range strings.SplitSeq(want, "; ") {
			what, who, _ := strings.Cut(part, ": ")
			if !strings.Contains(all, what) || !strings.Contains(all, who) || (want == "") != (all == "") {
				t.Errorf("%s: %q, want %q", then, all, want)
			}
		}
	}
}
