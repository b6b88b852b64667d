package rules

import (
	"path/filepath"
	"strings"
	"testing"
)

// A condition that YAML cuts off at a comment is reported where the comment begins, if
// the comment visibly continues it; other comments are none of our business.
func TestComments(t *testing.T) {
	const cut = `" #" begins a comment in YAML`
	for when, want := range map[string]string{
		`exe == "/opt/my #1"`:                    "4:27: " + cut,
		`port == 80 and # and more`:              "4:26: " + cut,
		`port == 80 and #1`:                      "4:26: " + cut,
		`port == 80 or   # of the web server`:    "4:27: " + cut,
		`port == 80 # and state == "CLOSE_WAIT"`: "4:22: warning: what comes after # is not part of the condition. " + cut,
		`port == 80 #&& owned`:                   "4:22: warning: what comes after # is not part of the condition. " + cut,
		`port == 80 # the web server`:            "",
		`port == 80   # android`:                 "",
		`'exe == "/opt/my #1"'`:                  "",
		`'port == 80' # and more`:                "",
		`port = 80 # the web server`:             "4:16: ",
		"|\n      port == 80\n    # and":         "",
	} {
		text := "version: 1\nrules:\n  - name: r\n    when: " + when + "\n    then: [log]\n"
		dir := writeFiles(t, map[string]string{"rules.yaml": text})
		p, err := load(dir, "rules.yaml")
		var got []string
		if err != nil {
			got = problemLines(t, err, dir)
		} else {
			for _, w := range p.Warnings {
				got = append(got, strings.Replace(strings.TrimPrefix(w.String(), filepath.Join(dir, "rules.yaml:")), ": ", ": warning: ", 1))
			}
		}
		if all := strings.Join(got, "; "); !strings.HasPrefix(all, want) || want == "" && all != "" || len(got) > 1 {
			t.Errorf("%s: %q, want %q", when, all, want)
		}
	}
}

// So is a text of several lines, in which YAML would report wrong indentation.
func TestCommentBetween(t *testing.T) {
	head := "version: 1\nrules:\n  - name: r\n    then: [log]\n"
	for text, want := range map[string]string{
		"    when: state == \"LISTEN\"  # web\n      and port == 80\n":    "5:30: " + cutByComment,
		"    when: port == 80 and\n      # the web server\n      owned\n": "6:7: " + cutByComment,
		"    when: port == 80 # web\n     mode: observe\n":                "6:6: " + wrongIndentation,
		"    when: 'port == 80 # web\n  - x'\n   mode: observe\n":         "7:4: " + wrongIndentation,
	} {
		checkLines(t, problems(t, head+text), want)
	}
}
