package rules

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sockwarden/collectors"
)

// TestOverridesOfAnotherFile: a file changes rules of another one, whichever is read first, by its own
// names; what it does not name stays.
func TestOverridesOfAnotherFile(t *testing.T) {
	const base = `version: 1
vars: {limit: 60}
rules:
  - {name: leak, when: port == 80, unless: remote_port > limit, for: 5s, then: [destroy], limits: {per_cycle: 7, cooldown: 1m}, labels: {a: b, c: d}}
  - {name: other, when: port == 81, then: [destroy]}
`
	const over = `version: 1
vars: {limit: 8443}
overrides:
  leak: {mode: observe, unless: remote_port == limit, limits: {per_cycle: 20}, labels: {a: x, e: f}}
`
	for _, names := range [][2]string{{"a.yaml", "b.yaml"}, {"b.yaml", "a.yaml"}} {
		p := loadFiles(t, map[string]string{names[0]: base, names[1]: over})
		r := p.Rule("leak")
		if r.Mode != ModeObserve || r.For != 5*time.Second || len(r.Then) != 1 || filepath.Base(r.File) != names[0] {
			t.Errorf("%+v", r)
		}
		if r.Limits.PerCycle != 20 || r.Limits.Cooldown != time.Minute {
			t.Errorf("limits %s", r.Limits)
		}
		if !maps.Equal(r.Labels, map[string]string{"a": "x", "c": "d", "e": "f"}) {
			t.Errorf("labels %v", r.Labels)
		}
		if got := filepath.Base(r.Overridden.String()); got != names[1]+":4: mode, unless, limits, labels" {
			t.Errorf("overridden %s", got)
		}
		for port, want := range map[uint16]Tri{50: False, 61: True, 8443: True, 60: False} {
			s := collectors.Socket{RemotePort: port, Known: collectors.Fields(collectors.FieldRemotePort)}
			record := collectors.NewRecord(&s, nil, &collectors.Facts{}, nil, "")
			if got, said := r.Unless.Eval(&record), r.Unless.Explain(&record).Value; got != want || said != want {
				t.Errorf("%d: unless is %s, explained %s", port, got, said)
			}
		}
		if text := r.Unless.Text; text != "(remote_port > limit) or (remote_port == limit)" {
			t.Error(text)
		}
		if o := p.Rule("other"); o.Overridden != nil || o.Mode != ModeEnforce {
			t.Errorf("%+v", o)
		}
		if len(p.Warnings) > 0 {
			t.Errorf("warned: %v", p.Warnings)
		}
	}
	p := loadFiles(t, map[string]string{"a.yaml": base, "b.yaml": "version: 1\noverrides: {other: {unless: port == 8443}}\n"})
	if text := p.Rule("other").Unless.Text; text != "port == 8443" {
		t.Error(text)
	}
}

// TestOverridesOfBuiltin: the built-in rules can be overridden, and must be read, too.
func TestOverridesOfBuiltin(t *testing.T) {
	dir := writeFiles(t, map[string]string{"site.yaml": "version: 1\noverrides: {close-wait: {mode: observe, limits: {per_cycle: 3}}}\n"})
	p, _, err := Load(Options{Paths: []string{Builtin, filepath.Join(dir, "site.yaml")}, Catalog: testCatalog()})
	if err != nil {
		t.Fatal(err)
	}
	if r := p.Rule("close-wait"); r.Mode != ModeObserve || r.Limits.PerCycle != 3 {
		t.Errorf("%s %s", r.Mode, r.Limits)
	}
	if len(p.Warnings) > 0 { // such as about a comment that silences what an observing rule is not warned about
		t.Error(p.Warnings)
	}
	_, err = load(dir, "site.yaml")
	if err == nil || !strings.Contains(err.Error(), `site.yaml:2:13: no rule "close-wait" to override: an override is for a rule of a file that is read with this one`) {
		t.Error(err)
	}
}

// TestOverrideCounts: what an override changes counts as a change of its rule, and of no
// other.
func TestOverrideCounts(t *testing.T) {
	const base = "version: 1\nactions: {ops: {plugin: webhook, url: x}}\nrules:\n  - {name: a, when: port == 80, unless: port == 2, then: [destroy]}\n  - {name: b, when: port == 81, then: [destroy]}\n"
	with := func(override string) *Program {
		t.Helper()
		dir := writeFiles(t, map[string]string{"a.yaml": base, "b.yaml": "version: 1\nvars: {x: 1}\nmacros: {x1: port == x, x2: port == x + 1}\n" + override})
		p, _, err := Load(Options{Paths: []string{dir}, Catalog: testCatalog(), Notifiers: testNotifiers()})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	seen := map[string]string{with("").Rule("a").Fingerprint: "none"}
	for _, o := range []string{
		"mode: observe", "unless: port == 1", "unless: x1", "unless: x2", "limits: {per_cycle: 3}", "labels: {a: b}", "notify: [ops]",
	} {
		p := with("overrides: {a: {" + o + "}}\n")
		if c := p.Diff(with("")); fmt.Sprint(c.Changed) != "[a]" || len(c.Added)+len(c.Removed) > 0 {
			t.Errorf("%s: %+v", o, c)
		}
		print := p.Rule("a").Fingerprint
		if was, dup := seen[print]; dup {
			t.Errorf("%s: the same fingerprint as %s", o, was)
		}
		seen[print] = o
	}
	if c := with("overrides: {a: {mode: enforce}}\n").Diff(with("")); len(c.Changed) > 0 {
		t.Errorf("what it has already: %+v", c)
	}
}

// TestOverridesInTwoFiles: two overrides of one rule are refused, at the place of the
// second.
func TestOverridesInTwoFiles(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"a.yaml": "version: 1\noverrides: {r: {mode: observe}}\n", "b.yaml": "version: 1\noverrides:\n  r: {limits: {per_cycle: 3}}\n",
		"c.yaml": "version: 1\nrules: [{name: r, when: port == 80, then: [destroy]}]\n",
	})
	_, err := load(dir, ".")
	if err == nil || strings.ReplaceAll(err.Error(), dir+"/", "") != `b.yaml:3:3: rule "r" is already overridden at a.yaml:2: an override can be in one place only` {
		t.Error(err)
	}
}

// TestOverrideOfEmptyList: an exception whose list is empty is refused, as in a rule.
func TestOverrideOfEmptyList(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"a.yaml": "version: 1\nsets: {s: {file: s.txt}}\noverrides: {r: {unless: remote_addr in s}}\n", "s.txt": "",
		"c.yaml": "version: 1\nsets: {s: [10.0.0.0/8]}\nrules: [{name: r, when: port == 80 and remote_addr in s, then: [destroy]}]\n",
	})
	_, err := load(dir, ".")
	if err == nil || !strings.Contains(err.Error(), `s.txt is empty, and unless of rule "r" reads it`) {
		t.Error(err)
	}
}
