package rules

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"sockwarden/collectors"
)

// example is the condition at the beginning of the documentation.
const example = `state == "CLOSE_WAIT" && age > 60 && port in rustdesk`

// manyRules is a file of n rules like the example, each with a different age.
func manyRules(n int) string {
	var b strings.Builder
	b.WriteString("version: 1\nvars: {limit: 60}\nmacros:\n  hung: state == \"CLOSE_WAIT\" && age > limit\nrules:\n")
	for i := range n {
		fmt.Fprintf(&b, "  - {name: r%d, when: state == \"CLOSE_WAIT\" && age > %d && port in rustdesk, unless: 'remote_addr in [\"10.0.0.0/8\"]', then: [destroy]}\n", i, 60+i)
	}
	return b.String()
}

// established is a record that no rule of manyRules is about.
func established() *collectors.Record {
	r := leak()
	r.Socket.State = collectors.Established
	return r
}

// TestNoAllocation: a record allocates no memory, whether it matches or not.
func TestNoAllocation(t *testing.T) {
	sc := scopeOf(t, definitions)
	for _, text := range []string{
		example, "both and third", `process matches "^h" and remote_addr in ["203.0.113.0/24"] and idle > "1m"`, `lookup(words, process, "x") != "x" or process in names`,
		"known(process) and fds * 10 > fd_limit * 9 and 80 < port < 65535",
	} {
		c := compiled(t, sc, text)
		for name, r := range map[string]*collectors.Record{"leak": leak(), "established": established(), "without owner": without(collectors.FieldProcess)} {
			if n := testing.AllocsPerRun(100, func() { c.Eval(r) }); n != 0 {
				t.Errorf("%s: %s costs %v allocations", name, text, n)
			}
		}
	}
	e := mustLoad(t, manyRules(10)).NewEvaluator()
	for name, r := range map[string]*collectors.Record{"leak": leak(), "established": established()} {
		if n := testing.AllocsPerRun(100, func() { e.Match(r) }); n != 0 {
			t.Errorf("match of %s costs %v allocations", name, n)
		}
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, n := range []int{1, 10, 1000} {
		p := mustLoad(b, manyRules(n))
		for name, r := range map[string]*collectors.Record{"close_wait": leak(), "established": established()} {
			b.Run(fmt.Sprintf("rules=%d/%s", n, name), func(b *testing.B) {
				e := p.NewEvaluator()
				b.ReportAllocs()
				for b.Loop() {
					e.Match(r)
				}
			})
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{1, 10, 1000} {
		path := filepath.Join(writeFiles(b, map[string]string{"rules.yaml": manyRules(n)}), "rules.yaml")
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := Load(Options{Paths: []string{path}, Catalog: testCatalog()}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
