package rules

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

const diffFile = `version: 1
netns: host
vars:
  limit: 60
  other: 5
  timeouts: {hbbs: 30}
  ports: [80]
sets:
  peers: {file: peers.txt}
  names: [nginx]
macros:
  old: age > limit
  older: old and age > 2 * limit
  loose: owned
defaults:
  limits: {per_cycle: 10}
protect:
  - {name: ssh, when: port == 22}
rules:
  - {name: by-var, when: age > limit, then: [destroy]}
  - {name: by-macro, when: old, then: [destroy]}
  - {name: by-nested-macro, when: older, then: [destroy]}
  - {name: by-set-file, when: remote_addr in peers, then: [destroy]}
  - {name: by-set, when: process in names, then: [destroy]}
  - {name: by-map, when: 'age > lookup(timeouts, process, 5)', then: [destroy]}
  - {name: by-list, when: 'port in ports or ports == []', then: [destroy]}
  - {name: by-unless, when: owned, unless: age > limit, then: [destroy]}
  - {name: by-rung, when: owned, then: [destroy, {signal: TERM, wait: 5s, if: other == 5}]}
  - {name: folded, when: owned or other == 5, then: [destroy]}
  - {name: alone, description: nothing but itself, when: orphan, for: 5s, mode: observe, labels: {a: b}, limits: {per_cycle: 3}, then: [log]}
`

// TestDiff: a change of something that a rule depends on counts as a change of that rule,
// and of no other.
func TestDiff(t *testing.T) {
	replace := func(pairs ...string) func(map[string]string) {
		return func(files map[string]string) {
			for i := 0; i < len(pairs); i += 2 {
				if strings.Count(files["rules.yaml"], pairs[i]) != 1 {
					t.Fatalf("%q is %d times in the file", pairs[i], strings.Count(files["rules.yaml"], pairs[i]))
				}
				files["rules.yaml"] = strings.Replace(files["rules.yaml"], pairs[i], pairs[i+1], 1)
			}
		}
	}
	all := "by-var by-macro by-nested-macro by-set-file by-set by-map by-list by-unless by-rung folded alone"
	tests := []struct {
		name    string
		change  func(map[string]string)
		changed string
		added   string
		removed string
		protect string
		sets    string
	}{
		{name: "nothing", change: func(map[string]string) {}},
		{name: "comment", change: replace("version: 1\n", "version: 1\n# a comment\n")},
		{name: "variable", change: replace("limit: 60", "limit: 61"), changed: "by-var by-macro by-nested-macro by-unless"},
		{name: "type of variable", change: replace("limit: 60", `limit: "60"`, "age > 2 * limit", "age > 120"), changed: "by-var by-macro by-nested-macro by-unless"},
		{name: "folded variable", change: replace("other: 5\n", "other: 6\n"), changed: "by-rung folded"},
		{name: "map", change: replace("{hbbs: 30}", "{hbbs: 30, nginx: 1}"), changed: "by-map"},
		{name: "list", change: replace("ports: [80]", "ports: []"), changed: "by-list"},
		{name: "same list", change: replace("ports: [80]", "ports: [80, 80..80]")},
		{name: "set", change: replace("names: [nginx]", "names: [apache]"), sets: "names"},
		{name: "file of a set", change: func(f map[string]string) { f["peers.txt"] = "10.0.0.2\n" }, sets: "peers"},
		{name: "comment in the file of a set", change: func(f map[string]string) { f["peers.txt"] = "10.0.0.1 # home\n" }},
		{name: "macro", change: replace("old: age > limit\n", "old: age >= limit\n"), changed: "by-macro by-nested-macro"},
		{name: "nested macro", change: replace("2 * limit", "3 * limit"), changed: "by-nested-macro"},
		{name: "macro that nobody uses", change: replace("loose: owned", "loose: orphan")},
		{name: "default limits", change: replace("{per_cycle: 10}", "{per_cycle: 11}"), changed: strings.TrimSuffix(all, " alone")},
		{name: "cooldown", change: replace("{per_cycle: 10}", "{per_cycle: 10, cooldown: 1m}"), changed: all},
		{name: "condition", change: replace("when: orphan,", "when: owned,"), changed: "alone"},
		{name: "for", change: replace("for: 5s", "for: 6s"), changed: "alone"},
		{name: "mode", change: replace("mode: observe", "mode: enforce"), changed: "alone"},
		{name: "label", change: replace("{a: b}", "{a: c}"), changed: "alone"},
		{name: "label name", change: replace("{a: b}", "{b: b}"), changed: "alone"},
		{name: "limits", change: replace("{per_cycle: 3}", "{per_cycle: 4}"), changed: "alone"},
		{name: "action", change: replace("[log]", "[beep]"), changed: "alone"},
		{name: "parameter", change: replace("[log]", "[{log: debug}]"), changed: "alone"},
		{name: "wait", change: replace("wait: 5s", "wait: 6s"), changed: "by-rung"},
		{name: "signal", change: replace("signal: TERM", "signal: KILL"), changed: "by-rung"},
		{name: "unless", change: replace("unless: age > limit", "unless: age >= limit"), changed: "by-unless"},
		{name: "unless becomes when", change: replace("when: owned, unless: age > limit", "when: age > limit, unless: owned"), changed: "by-unless"},
		{name: "description", change: replace("nothing but itself", "something else")},
		{name: "namespace", change: replace("netns: host", "netns: all"), changed: all},
		{name: "name", change: replace("name: alone", "name: lonely"), added: "lonely", removed: "alone"},
		{name: "file", change: func(f map[string]string) { f["more.yaml"] = oneRule }, added: "one"},
		{name: "protect", change: replace("name: ssh, when: port == 22", "name: sshd, when: port == 22"), protect: "ssh"},
	}
	base := func() map[string]string { return map[string]string{"rules.yaml": diffFile, "peers.txt": "10.0.0.1\n"} }
	before := loadFiles(t, base())
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := base()
			tt.change(files)
			after := loadFiles(t, files)
			list := func(s string) string { return fmt.Sprint(strings.Fields(s)) }
			c := after.Diff(before)
			if fmt.Sprint(c.Changed) != list(tt.changed) || fmt.Sprint(c.Added) != list(tt.added) || fmt.Sprint(c.Removed) != list(tt.removed) || fmt.Sprint(c.ProtectRemoved) != list(tt.protect) ||
				fmt.Sprint(c.Sets) != list(tt.sets) {
				t.Errorf("got %+v, want changed %q added %q removed %q protect %q sets %q", c, tt.changed, tt.added, tt.removed, tt.protect, tt.sets)
			}
			// In the other direction the same rules have changed.
			back := before.Diff(after)
			if fmt.Sprint(back.Changed) != fmt.Sprint(c.Changed) || fmt.Sprint(back.Added) != fmt.Sprint(c.Removed) || fmt.Sprint(back.Removed) != fmt.Sprint(c.Added) {
				t.Errorf("there %+v, back %+v", c, back)
			}
		})
	}
}

// loadFiles loads a directory whose name is the same each time.
func loadFiles(t *testing.T, files map[string]string) *Program {
	t.Helper()
	p, err := load(writeFiles(t, files), ".")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestGeneration: it is the same for the same content and options, and differs for
// anything that can change what is done.
func TestGeneration(t *testing.T) {
	dir := writeFiles(t, map[string]string{"rules.yaml": diffFile, "peers.txt": "10.0.0.1\n"})
	generation := func(change func(*Options)) string {
		t.Helper()
		opts := Options{Paths: []string{filepath.Join(dir, "rules.yaml")}, Catalog: testCatalog()}
		if change != nil {
			change(&opts)
		}
		p, _, err := Load(opts)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(p.Generation, "sha256:"+p.Short()) || len(p.Generation) != len("sha256:")+64 || len(p.Short()) != 7 {
			t.Errorf("generation %q, short %q", p.Generation, p.Short())
		}
		return p.Generation
	}
	first := generation(nil)
	for range 20 {
		if again := generation(nil); again != first {
			t.Fatal("another generation of the same content")
		}
	}
	seen := map[string]string{first: "nothing"}
	check := func(what string, change func(*Options)) {
		t.Helper()
		g := generation(change)
		if was, dup := seen[g]; dup {
			t.Errorf("%s: the same generation as %s", what, was)
		}
		seen[g] = what
	}
	check("variable", func(o *Options) { o.Vars = []Override{{Name: "limit", Value: "5"}} })
	check("other value", func(o *Options) { o.Vars = []Override{{Name: "limit", Value: "6"}} })
	check("added to", func(o *Options) { o.Vars = []Override{{Name: "ports", Value: "6", Add: true}} })
	check("replaced", func(o *Options) { o.Vars = []Override{{Name: "ports", Value: "6"}} })
	check("only", func(o *Options) { o.Only = []string{"by-var"} })
	check("netns", func(o *Options) { o.NetNS = "all" })
	check("builtin too", func(o *Options) { o.Paths = append(o.Paths, Builtin) })
	writeFile(t, filepath.Join(dir, "rules.yaml"), diffFile+"# a comment\n")
	check("comment", nil)
	writeFile(t, filepath.Join(dir, "rules.yaml"), diffFile)
	writeFile(t, filepath.Join(dir, "peers.txt"), "10.0.0.2\n")
	check("set", nil)
	writeFile(t, filepath.Join(dir, "peers.txt"), "10.0.0.1\n")
	if generation(nil) != first {
		t.Error("the generation did not come back with the content")
	}
}

// TestDiffOfVars: an override of a variable changes the rules that use it.
func TestDiffOfVars(t *testing.T) {
	path := filepath.Join(writeFiles(t, map[string]string{"rules.yaml": diffFile, "peers.txt": ""}), "rules.yaml")
	before, _, err := Load(Options{Paths: []string{path}, Catalog: testCatalog()})
	if err != nil {
		t.Fatal(err)
	}
	after, _, err := Load(Options{Paths: []string{path}, Vars: []Override{{Name: "limit", Value: "5"}}, Catalog: testCatalog()})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(after.Diff(before).Changed); got != "[by-var by-macro by-nested-macro by-unless]" {
		t.Errorf("changed %s", got)
	}
}

// TestRungString shows how a ladder is displayed.
func TestRungString(t *testing.T) {
	p := mustLoad(t, `
version: 1
rules:
  - {name: r, when: owned, then: [destroy, {destroy: {udp: true, listen: false}}, {signal: TERM, owners: all, wait: 90s, if: pid > 5}]}
`)
	var got []string
	for i := range p.Rules[0].Then {
		got = append(got, p.Rules[0].Then[i].String())
	}
	checkLines(t, got, "destroy", "destroy udp=true", "signal TERM owners=all wait=1m30s if pid > 5")
}
