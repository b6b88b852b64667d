package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sockwarden/engine/catalog"
	"sockwarden/engine/judge"
	"sockwarden/rules"
)

// reading is a generation that a test reads at a given time, in seconds.
type reading struct {
	at      float64
	program string // letters of a text of rules and of a list: "Ax"
}

// TestGenerations checks which rules count at which time, by their letters, oldest first.
func TestGenerations(t *testing.T) {
	l := newLab(t, Options{})
	dir := t.TempDir()
	load := func(name string) *rules.Program {
		path := filepath.Join(dir, "rules.yaml")
		must(t, "write", os.WriteFile(filepath.Join(dir, "list.txt"), []byte(name[1:]+"\n"), 0o600))
		must(t, "write", os.WriteFile(path, []byte("version: 1\nsets: {s: {file: list.txt}}\nrules: [{name: "+name[:1]+", when: process in s, then: [log]}]\n"), 0o600))
		p, _, err := rules.Load(rules.Options{Paths: []string{path}, Catalog: catalog.New(l.actions)})
		must(t, "load", err)
		return p
	}
	name := func(g *judge.Generation) string {
		s := g.Read.Sets["s"].Names
		return g.Read.Rules[0].Name + s[0]
	}
	for what, c := range map[string]struct {
		read []reading
		want map[float64]string
	}{
		"one change":             {[]reading{{0, "Bx"}}, map[float64]string{0: "Ax Bx", 1.9: "Ax Bx", 2: "Bx"}},
		"away for a moment":      {[]reading{{0, "Bx"}, {0.02, "Ax"}}, map[float64]string{0: "Ax Bx", 1.99: "Ax Bx Ax", 2.01: "Ax Ax", 2.03: "Ax"}},
		"away again and again":   {[]reading{{0, "Bx"}, {0.1, "Ax"}, {1, "Bx"}, {1.1, "Ax"}, {2, "Bx"}, {2.1, "Ax"}}, map[float64]string{2.05: "Ax Ax Bx Ax Bx", 3.05: "Ax Ax Bx Ax", 4.2: "Ax"}},
		"piece by piece":         {[]reading{{0, "Bx"}, {1, "Cx"}, {2, "Dx"}}, map[float64]string{1.5: "Ax Bx Cx", 2.5: "Ax Cx Dx", 3.5: "Ax Dx", 4: "Dx"}},
		"one that stayed":        {[]reading{{0, "Bx"}, {3, "Cx"}}, map[float64]string{2.5: "Bx", 3.5: "Bx Cx", 5: "Cx"}},
		"stayed for the time":    {[]reading{{0, "Bx"}, {2.01, "Cx"}}, map[float64]string{2.01: "Bx Cx"}},
		"read once":              {[]reading{{0, "Bx"}, {2, "Cx"}}, map[float64]string{2: "Ax Cx"}},
		"a list in every second": {[]reading{{0, "Ay"}, {1, "Az"}, {2, "Av"}, {3, "Aw"}}, map[float64]string{2.5: "Ax Az Av", 5: "Aw"}},
	} {
		t.Run(what, func(t *testing.T) {
			start := time.Now()
			g := judge.NewGenerations(load("Ax"), start)
			at := func(s float64) time.Time { return start.Add(time.Hour + time.Duration(s*float64(time.Second))) }
			todo := c.read
			for step := 0; step <= 600; step++ {
				now := float64(step) / 100
				for len(todo) > 0 && todo[0].at <= now {
					if !g.Add(load(todo[0].program), at(todo[0].at)) {
						t.Errorf("%s is nothing new", todo[0].program)
					}
					if g.Add(load(todo[0].program), at(todo[0].at)) {
						t.Errorf("%s is new once more", todo[0].program)
					}
					todo = todo[1:]
				}
				if due, ok := g.Due(); ok && !at(now).Before(due) {
					g.Add(g.Newest(), at(now)) // it is read again
					g.Advance(at(now))
				}
				want, check := c.want[now]
				var got []string
				for _, one := range g.All {
					got = append(got, name(one))
				}
				if check && strings.Join(got, " ") != want {
					t.Errorf("at %.2f s %q, not %q", now, got, want)
				}
			}
		})
	}
	t.Run("never the same for long", func(t *testing.T) {
		now := time.Now()
		g := judge.NewGenerations(load("Ax"), now)
		for i := 1; name(g.All[0]) == "Ax"; i++ {
			now = now.Add(time.Second)
			g.Add(load("A"+fmt.Sprint("y", i)), now)
			g.Advance(now)
			if i > 20 {
				t.Fatal("what was first stays in force for ever")
			}
		}
		if took := len(g.All); took > 4 {
			t.Errorf("%d generations count", took)
		}
	})
}

// TestHalfWrittenNeverInForce checks that rules read while their file is being written
// are never in force, however long that takes.
func TestHalfWrittenNeverInForce(t *testing.T) {
	l := newLab(t, Options{})
	path := filepath.Join(t.TempDir(), "rules.yaml")
	load := func() *rules.Program {
		p, _, err := rules.Load(rules.Options{Paths: []string{path}, Catalog: catalog.New(l.actions)})
		must(t, "load", err)
		return p
	}
	const head = "version: 1\nrules: [{name: r, when: port == 1, then: [log]}]\n"
	must(t, "write", os.WriteFile(path, []byte(head+"protect: [{name: last, when: port == 2}]\n"), 0o600))
	now := time.Now()
	whole := load()
	g := judge.NewGenerations(whole, now)
	f, err := os.Create(path)
	must(t, "open", err)
	defer f.Close()
	_, err = f.WriteString(head)
	must(t, "write", err)
	for range 20 {
		now = now.Add(3 * time.Second)
		_, err = f.WriteString("# slowly\n")
		must(t, "write", err)
		g.Add(load(), now)
		if len(g.All) > 2 && g.Advance(now) || g.All[0].Read != whole {
			t.Fatal("half of a file is in force")
		}
	}
	must(t, "close", f.Close())
	g.Add(load(), now)
	if now = now.Add(3 * time.Second); !g.Advance(now) || len(g.All) != 1 || len(g.All[0].Read.Protect) != 0 {
		t.Error("the file is not in force though it is closed")
	}
}
