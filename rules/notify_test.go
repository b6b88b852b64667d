package rules

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// notifiers lists plugins as rules files know them.
func notifiers() Catalog {
	check := func(params map[string]any) (any, error) {
		if params["url"] == nil {
			return nil, errors.New("where to? write url: https://...")
		}
		return nil, nil
	}
	return Catalog{
		{Name: "webhook", Params: []Param{{Name: "url", Type: ParamString}, {Name: "retries", Type: ParamNumber}, {Name: "timeout", Type: ParamDuration}, {Name: "quiet", Type: ParamBool}}, Bind: check},
		{Name: "pigeon", Bind: nothingWrong},
	}
}

// loadNotifying loads files of a directory in which rules can notify.
func loadNotifying(t testing.TB, files map[string]string) (*Program, []string) {
	t.Helper()
	dir := writeFiles(t, files)
	opts := Options{Catalog: testCatalog(), Notifiers: notifiers()}
	for name := range files {
		opts.Paths = append(opts.Paths, filepath.Join(dir, name))
	}
	slices.Sort(opts.Paths)
	p, _, err := Load(opts)
	if err != nil {
		return nil, problemLines(t, err, dir)
	}
	return p, nil
}

func notifying(names, actions string) string {
	return "version: 1\nrules:\n  - {name: r, when: owned, then: [log], notify: " + names + "}\n" + actions
}

// Entries under actions are configured plugins that rules can name.
func TestNotifiers(t *testing.T) {
	p, lines := loadNotifying(t, map[string]string{"rules.yaml": notifying("[ops, b-1.x]",
		"actions:\n  ops: {plugin: webhook, url: 'https://a', retries: 3, timeout: 5s, quiet: true}\n  b-1.x: {plugin: pigeon}\n  unused: {plugin: pigeon}\n")})
	if lines != nil {
		t.Fatal(lines)
	}
	if !slices.Equal(p.Rules[0].Notify, []string{"ops", "b-1.x"}) || len(p.Notifiers) != 3 {
		t.Errorf("%v, %v", p.Rules[0].Notify, p.Notifiers)
	}
	ops := p.Notifiers["ops"]
	if ops.Plugin != "webhook" || len(ops.Params) != 4 || ops.Params["retries"] != 3.0 || ops.Params["quiet"] != true {
		t.Errorf("%+v", ops)
	}
	same := Notifier{"webhook", map[string]any{"url": "https://a", "retries": 3.0, "timeout": ops.Params["timeout"], "quiet": true}}
	other := Notifier{"webhook", map[string]any{"url": "https://b", "retries": 3.0, "timeout": ops.Params["timeout"], "quiet": true}}
	if !ops.Equal(same) || ops.Equal(other) || ops.Equal(Notifier{Plugin: "pigeon", Params: ops.Params}) {
		t.Error("what is equal")
	}
}

// An error in an entry, or in its name in a rule, is reported once.
func TestNotifyRefused(t *testing.T) {
	const good = "actions: {ops: {plugin: pigeon}, dev: {plugin: pigeon}}\n"
	for text, want := range map[string]string{
		notifying("[opps]", good):                                                         `3:50: no entry "opps" under actions (did you mean "ops"?)`,
		notifying("[fax]", good):                                                          `3:50: no entry "fax" under actions: write actions: {fax: {plugin: webhook, url_file: /etc/sockwarden/url}}`,
		notifying("[ops]", ""):                                                            `3:50: no entry "ops" under actions: write actions: {ops: {plugin: webhook, url_file: /etc/sockwarden/url}}`,
		notifying("[ops, ops]", good):                                                     "3:55: notify has ops twice",
		notifying("ops", good):                                                            `3:49: notify is a list, not "ops": write notify: [ops]`,
		notifying("[[ops]]", good):                                                        "3:50: notify is a string, not a list",
		notifying("[ops]", "actions: {ops: {plugin: webhok}}\n"):                          `4:25: unknown plugin "webhok" (did you mean "webhook"?): there are webhook, pigeon`,
		notifying("[ops]", "actions: {ops: {plugin: log}}\n"):                             `4:25: unknown plugin "log": there are webhook, pigeon`,
		notifying("[ops]", "actions: {ops: {url: a}}\n"):                                  "4:16: ops needs its plugin: write plugin: webhook",
		notifying("[ops]", "actions: {ops: {}}\n"):                                        "4:16: ops needs its plugin: write plugin: webhook",
		notifying("[ops]", "actions: {ops: webhook}\n"):                                   `4:16: an entry of actions is a mapping of names to values, not "webhook": write ops: {plugin: webhook, url_file: /etc/sockwarden/url}`,
		notifying("[ops]", "actions: {ops: {plugin: webhook}}\n"):                         "4:16: ops: where to? write url: https://...",
		notifying("[ops]", "actions: {ops: {plugin: webhook, ulr: a}}\n"):                 `4:34: webhook has no parameter "ulr" (did you mean "url"?): it has url, retries, timeout or quiet, besides plugin`,
		notifying("[ops]", "actions: {ops: {plugin: webhook, url: a, wait: 5s}}\n"):       `4:42: webhook has no parameter "wait": it has url, retries, timeout or quiet, besides plugin`,
		notifying("[ops]", "actions: {ops: {plugin: webhook, url: a, retries: many}}\n"):  `4:51: webhook retries is a whole number of at least 1, not "many"`,
		notifying("[ops]", "actions: {ops: {plugin: webhook, url: [a]}}\n"):               "4:39: webhook url is a string, not a list",
		notifying("[ops]", "actions: {ops: {plugin: webhook, url: a, timeout: 5x}}\n"):    `4:51: webhook timeout: "5x" is not a time: write seconds, or units as in 90s, 5m, 1h30m, 2d`,
		notifying("[ops]", good+"vars: {a: 1}\nactions: {}\n"):                            `6:1: duplicate key "actions", first on line 4`,
		notifying("[dev]", "actions: {dev: {plugin: pigeon}, 'a b': {plugin: pigeon}}\n"): `4:34: a name under actions is made of letters, digits, -, _ and ., not "a b"`,
		notifying("[dev]", "actions: [dev]\n"):                                            `4:10: actions is a mapping of names to values, not a list: write actions: {ops: {plugin: webhook, url_file: /etc/sockwarden/url}}`,
	} {
		_, lines := loadNotifying(t, map[string]string{"rules.yaml": text})
		if strings.Contains(want, "actions is a mapping") && len(lines) == 2 {
			lines = lines[1:] // and there is no such entry
		}
		checkLines(t, lines, want)
	}
}

// The names are shared by all files: a rule can use an entry of another file, and no name
// stands in two files.
func TestNotifyOverFiles(t *testing.T) {
	const ops = "actions: {ops: {plugin: pigeon}}\n"
	for _, files := range []map[string]string{
		{"a.yaml": notifying("[ops]", ""), "b.yaml": "version: 1\n" + ops},
		{"a.yaml": "version: 1\n" + ops, "b.yaml": notifying("[ops]", "")},
	} {
		p, lines := loadNotifying(t, files)
		if lines != nil || len(p.Notifiers) != 1 || !slices.Equal(p.Rules[0].Notify, []string{"ops"}) {
			t.Errorf("%v", lines)
		}
	}
	_, lines := loadNotifying(t, map[string]string{"a.yaml": "version: 1\n" + ops, "b.yaml": notifying("[ops]", ops)})
	checkLines(t, lines, `b.yaml: "ops" stands under actions of another file, too`)
}

// misplaced says in which line of which parameter a template is wrong.
type misplaced struct{ line int }

func (e misplaced) Error() string { return fmt.Sprintf("template, line %d: no", e.line) }

func (e misplaced) Place() (param string, line int) { return "template", e.line }

// What a plugin finds wrong in a text is reported at its line in the file, or where the text
// begins if that has no lines of its own.
func TestNotifierPlace(t *testing.T) {
	for text, want := range map[string]string{
		"template: |\n      {\n      {{x}}\n":     "9:7: ops: template, line 2: no",
		"template: |-\n        {\n         {{x}}": "9:10: ops: template, line 2: no",
		"template: >\n      {\n      {{x}}\n":     "7:15: ops: template, line 2: no",
		"template: '{{x}}'\n":                     "7:15: ops: template, line 2: no",
		"other: |\n      a\n      b\n":            "6:5: ops: template, line 2: no",
	} {
		path := filepath.Join(writeFiles(t, map[string]string{"rules.yaml": notifying("[ops]", "actions:\n  ops:\n    plugin: hook\n    "+text)}), "rules.yaml")
		_, _, err := Load(Options{Paths: []string{path}, Catalog: testCatalog(), Notifiers: Catalog{{
			Name: "hook", Params: []Param{{Name: "template", Type: ParamString}, {Name: "other", Type: ParamString}},
			Bind: func(map[string]any) (any, error) { return nil, fmt.Errorf("wrapped: %w", misplaced{2}) },
		}}})
		want = strings.Replace(want, "ops: ", "ops: wrapped: ", 1)
		if lines := problemLines(t, err, filepath.Dir(path)); len(lines) != 1 || !strings.HasSuffix(lines[0], want) {
			t.Errorf("%s: %q, not %s", text, lines, want)
		}
	}
}

// Addresses in a wrong line may hold tokens: no error shows more than their hosts.
func TestNoSecretsInProblems(t *testing.T) {
	for line, want := range map[string]string{
		`url: "https://me:S3CR3T@hooks.example.com:8/S3CR3T?x=S3CR3T", ulr: a`: `url: "https://*********@hooks.example.com:8****************", ulr: a`,
		"ulr: HTTP://h/S3CR3T ": "ulr: HTTP://h******* ",
		"ulr: https://hooks/é ": "ulr: https://hooks** ",
		"ulr: http://h ":        "ulr: http://h ",
		"ulr: /etc/x":           "ulr: /etc/x",
	} {
		path := filepath.Join(writeFiles(t, map[string]string{"rules.yaml": notifying("[ops]", "actions: {ops: {plugin: webhook, "+line+"}}\n")}), "rules.yaml")
		_, _, err := Load(Options{Paths: []string{path}, Catalog: testCatalog(), Notifiers: notifiers()})
		var problems Problems
		if !errors.As(err, &problems) || len(problems) != 1 {
			t.Fatalf("%s: %v", line, err)
		}
		if detail := problems[0].Detail(); strings.Contains(detail, "S3CR3T") || !strings.Contains(detail, "{plugin: webhook, "+want+"}}") {
			t.Errorf("%s: %s", line, detail)
		}
	}
	if got := withoutSecrets(`flow: not "https://h/S3CR3T"`); got != `flow: not "https://h*******"` {
		t.Error(got)
	}
}
