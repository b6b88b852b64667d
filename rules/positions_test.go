package rules

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// wrongNames are names that stand for nothing; the tests look for their places in the
// text of a file.
var wrongNames = []string{"nonsense_a", "nonsense_b", "nonsense_c"}

// TestPositions has a condition in every YAML scalar style; each wrong name is reported
// exactly where it stands in the file.
func TestPositions(t *testing.T) {
	head := "version: 1\nrules:\n  - name: r\n    then: [destroy]\n"
	tests := map[string]string{
		"plain":                     head + "    when: owned and nonsense_a == 1 or nonsense_b\n",
		"plain, spaces before":      head + "    when:      nonsense_a == 1\n",
		"plain, on the next line":   head + "    when:\n\n      owned and nonsense_a == 1\n",
		"plain, many lines":         head + "    when: owned and\n      nonsense_a == 1\n        or\n\n      nonsense_b or\torphan and nonsense_c\n",
		"plain, comment behind":     head + "    when: owned and nonsense_a == 1 # nonsense\n",
		"literal":                   head + "    when: |\n      owned and nonsense_a == 1\n      or nonsense_b\n",
		"literal, comment behind":   head + "    when: | # nonsense\n      owned and nonsense_a == 1\n",
		"literal, indented":         head + "    when: |4\n          owned and nonsense_a == 1\n        or nonsense_b\n",
		"literal, indented, chomp":  head + "    when: |4-\n          owned and nonsense_a == 1\n\n\n",
		"literal, kept":             head + "    when: |+\n      owned and nonsense_a == 1\n\n\n    description: x\n",
		"literal, empty lines":      head + "    when: |\n\n\n      owned and\n\n      nonsense_a == 1\n",
		"literal, tabs":             head + "    when: |\n      owned\tand\t\tnonsense_a == 1\n      \tor nonsense_b\n",
		"folded":                    head + "    when: >\n      owned and nonsense_a == 1\n      or nonsense_b\n",
		"folded, stripped":          head + "    when: >-\n      owned and nonsense_a == 1\n        or\n      nonsense_b\n\n      or nonsense_c\n",
		"folded, indented":          head + "    when: >2-\n        owned and nonsense_a == 1\n      or nonsense_b\n",
		"single quotes":             head + "    when: 'owned and nonsense_a == 1'\n",
		"single quotes, quote":      head + "    when: 'process == ''x'' and nonsense_a == 1 or user == '''' or nonsense_b'\n",
		"single quotes, many lines": head + "    when: 'process == ''x''\n      and nonsense_a == 1\n\n      or nonsense_b'\n",
		"double quotes":             head + "    when: \"owned and nonsense_a == 1\"\n",
		"double quotes, quote":      head + `    when: "process == \"x\" and nonsense_a == 1"` + "\n",
		"double quotes, backslash":  head + `    when: "process matches \"a\\\\d\" and nonsense_a == 1"` + "\n",
		"double quotes, slash":      head + `    when: "exe == \"\/bin\/sh\" and nonsense_a == 1"` + "\n",
		"double quotes, tab":        head + `    when: "owned\tand\n nonsense_a == 1 or\r\nnonsense_b"` + "\n",
		"double quotes, numbers":    head + `    when: "\x6fwned and user == \"\u00e9\U0001F600\" and nonsense_a == 1"` + "\n",
		"double quotes, spaces":     head + `    when: "owned\x20and\u0020\_\ nonsense_a == 1"` + "\n",
		"double quotes, many lines": head + "    when: \"owned and\n      nonsense_a == 1 or \\\n      nonsense_b or \\\n\n      nonsense_c\"\n",
		"flow":                      "version: 1\nrules: [{name: r, then: [destroy], when: owned and nonsense_a == 1}, {name: s, then: [destroy], when: nonsense_b}]\n",
		"flow, quotes":              "version: 1\nrules:\n  - {name: r, then: [destroy], when: 'port in [80] and nonsense_a == 1'}\n",
		"flow, one line":            "{version: 1, rules: [{name: r, then: [destroy], when: nonsense_a == 1}]}\n",
		"flow, many lines":          "version: 1\nrules:\n  - {name: r, then: [destroy], when: owned and\n    nonsense_a == 1,\n    unless: nonsense_b}\n",
		"json":                      `{"version": 1, "rules": [{"name": "r", "then": ["destroy"], "when": "owned and nonsense_a == 1"}]}`,
		"unless and if":             head + "    when: nonsense_a == 1\n    unless: owned and nonsense_b\n",
		"rung":                      "version: 1\nrules:\n  - name: r\n    when: owned\n    then:\n      - {signal: TERM, if: owned and nonsense_a == 1}\n",
		"protect":                   "version: 1\nprotect:\n  - name: p\n    when: owned and nonsense_a == 1\n",
		"macro":                     "version: 1\nmacros:\n  m: owned and nonsense_a == 1\n  n: |\n    nonsense_b\n",
		"accents before":            "version: 1\n# é è 漢字 😀\nrules:\n  - {name: r, description: \"é 漢字 😀\", then: [destroy], when: user == \"漢字\" and nonsense_a == 1}\n",
		"accents in the line":       head + "    when: user == \"é漢😀\" and nonsense_a == 1\n",
		"accents in literal":        head + "    when: |\n      user == \"é漢😀\" and nonsense_a == 1\n      or user == \"ß\" and nonsense_b\n",
		"accents in single quotes":  head + "    when: 'user == \"é漢😀\" and nonsense_a == 1'\n",
		"no-break space":            head + "    when: user == \"\u00a0\" and nonsense_a == 1\n",
		"no end of line":            head + "    when: owned and nonsense_a == 1",
		"line separators":           "version: 1\nnetns: \"a\u2028b\u2029c\u0085d\"\n" + head[len("version: 1\n"):] + "    when: owned and nonsense_a == 1\n",
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			checkWrongNames(t, text, text)
			checkWrongNames(t, text, "\ufeff"+text)
			if !strings.Contains(name, `tab`) {
				crlf := strings.ReplaceAll(text, "\n", "\r\n")
				checkWrongNames(t, crlf, crlf)
			}
		})
	}
}

// checkWrongNames loads file, whose visible text is text.
func checkWrongNames(t *testing.T, text, file string) {
	t.Helper()
	src := newSource("", text)
	var want []string
	for _, name := range wrongNames {
		if before, _, found := strings.Cut(text, name); found {
			line, column := src.position(len([]rune(before)))
			want = append(want, fmt.Sprintf("%d:%d: unknown name %q: it is neither a field (sockwarden rules fields lists them) nor a variable, set or macro", line, column, name))
		}
	}
	if len(want) == 0 {
		t.Fatal("no wrong name in the text")
	}
	checkLines(t, problems(t, file), want...)
	// The caret stands under the name.
	_, err := load(writeFiles(t, map[string]string{"rules.yaml": file}), "rules.yaml")
	for _, p := range err.(Problems) { //nolint:errorlint // never wrapped
		rows := strings.Split(p.Detail(), "\n")
		if len(rows) != 3 {
			t.Fatalf("no line of source: %q", p.Detail())
		}
		caret := len([]rune(rows[2])) - 1
		if under := string([]rune(rows[1])[caret:]); !strings.HasPrefix(under, "nonsense_") {
			t.Errorf("the caret stands under %q:\n%s", under, p.Detail())
		}
	}
}

// TestEndPositions: an expression that ends too early is reported right after its last
// word, not after the white space that follows.
func TestEndPositions(t *testing.T) {
	head := "version: 1\nrules:\n  - name: r\n    then: [destroy]\n"
	for text, want := range map[string]string{
		"    when: owned and\n":                       "5:20: something is missing behind and",
		"    when: |\n      owned and\n\n\n":          "6:16: something is missing behind and",
		"    when: \"owned and  \"\n":                 "5:21: something is missing behind and",
		"    when: 'owned\n      and   '   # x\n":     "6:10: something is missing behind and",
		"    when: >-\n      owned\n      and\n":      "7:10: something is missing behind and",
		"    when: owned and\n    unless: owned\n":    "5:20: something is missing behind and",
		"    when: |\n      (owned\n    for: 5s\n":    `6:13: a ")" is missing`,
		"    when: |\n      owned ==\n    for: 5s\n":  "6:15: something is missing behind ==",
		"    when: |\n      port in [\n    for: 5s\n": "6:16: ",
	} {
		place, what, _ := strings.Cut(want, ": ")
		checkLines(t, problems(t, head+text), strings.TrimSuffix(place+": the condition ends too early: "+what, ": "))
	}
}

func TestDetail(t *testing.T) {
	long := strings.Repeat("x", 5000)
	tests := []struct {
		name string
		p    Problem
		want string
	}{
		{"place", Problem{"", "a.yaml", 3, 9, "wrong", "    when: x", 0}, "a.yaml:3:9: wrong\n    3 |     when: x\n      |         ^"},
		{"tab", Problem{"", "a.yaml", 3, 4, "wrong", "\t\twhen", 0}, "a.yaml:3:4: wrong\n    3 | \t\twhen\n      | \t\t ^"},
		{"wide", Problem{"", "a.yaml", 12, 3, "wrong", "éèx", 0}, "a.yaml:12:3: wrong\n   12 | éèx\n      |   ^"},
		{"behind the end", Problem{"", "a.yaml", 1, 4, "wrong", "abc", 0}, "a.yaml:1:4: wrong\n    1 | abc\n      |    ^"},
		{"file", Problem{"", "a.yaml", 0, 0, "wrong", "", 0}, "a.yaml: wrong"},
		{"nothing", Problem{"", "", 0, 0, "wrong", "", 0}, "wrong"},
		{"long", Problem{"", "a.yaml", 1, 2500, "wrong", long, 0}, "a.yaml:1:2500: wrong\n    1 | " + long[:200] + "\n      | " + strings.Repeat(" ", 99) + "^"},
		{"long, begin", Problem{"", "a.yaml", 1, 1, "wrong", long, 0}, "a.yaml:1:1: wrong\n    1 | " + long[:200] + "\n      | ^"},
		{"long, end", Problem{"", "a.yaml", 1, 5001, "wrong", long, 0}, "a.yaml:1:5001: wrong\n    1 | " + long[:200] + "\n      | " + strings.Repeat(" ", 200) + "^"},
	}
	for _, tt := range tests {
		if got := tt.p.Detail(); got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
	}
}

// TestManyFiles: the problems of all files come at once, sorted by file and place.
func TestManyFiles(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"b.yaml": "version: 1\nrules:\n  - {name: r, when: nonsense_b, then: [destroy]}\n  - {name: s, when: owned, then: [nothing]}\n",
		"a.yaml": "version: 1\nrules:\n  - {name: r, when: nonsense_a, then: [destroy]}\n  - {nam: s}\n",
		"c.yaml": "version: 1\nrules: [\n",
		"d.yaml": "version: 1\n",
	})
	_, err := load(dir, ".")
	checkLines(t, problemLines(t, err, filepath.Clean(dir)),
		`a.yaml:3:21: unknown name "nonsense_a": it is neither a field (sockwarden rules fields lists them) nor a variable, set or macro`,
		`a.yaml:4:5: a rule needs a name: write name: close-wait`,
		`a.yaml:4:5: rule "" needs a condition: write when: state == "CLOSE_WAIT"`,
		`a.yaml:4:5: rule "" needs an action: write then: [destroy], or mode: observe`,
		`a.yaml:4:6: unknown key "nam" in a rule (did you mean "name"?)`,
		`b.yaml:3:12: rule "r" is already at a.yaml:3: give one of them another name`,
		`b.yaml:3:21: unknown name "nonsense_b": it is neither a field (sockwarden rules fields lists them) nor a variable, set or macro`,
		`b.yaml:4:35: unknown action "nothing": there are destroy, signal, log, knock, beep`,
		`c.yaml:3:1: a bracket or brace is not closed, or a comma is missing`,
	)
	if details := err.(Problems).Detail(); strings.Count(details, "^") != 8 { //nolint:errorlint // never wrapped
		t.Errorf("not eight lines of source:\n%s", details)
	}
}
