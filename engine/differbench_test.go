package engine

import (
	"fmt"
	"log/slog"
	"testing"

	"sockwarden/rules"
)

// BenchmarkDiff compares two rules by a recording of so many sockets: whose fate differs,
// that of all or of none.
func BenchmarkDiff(b *testing.B) {
	one := func(text string, mode rules.Mode) *rules.Program {
		p, err := rules.NewSelection(rules.Selection{Name: "r", Text: text, Mode: mode, NetNS: "host"})
		must(b, "rules", err)
		return p
	}
	all := `state == "CLOSE_WAIT" && age > 60`
	for _, n := range []int{1_000, 10_000, 100_000} {
		for name, now := range map[string]*rules.Program{
			"none differ": one(all+` && port > 0`, rules.ModeObserve), "all differ": one(`state == "CLOSE_WAIT" && age > 86400`, rules.ModeObserve),
		} {
			b.Run(fmt.Sprintf("%d/%s", n, name), func(b *testing.B) {
				e, err := New(Options{From: recordedCrowd(n).World(), Logger: slog.New(slog.DiscardHandler)})
				must(b, "engine", err)
				defer e.Close()
				was := one(all, rules.ModeObserve)
				b.ReportAllocs()
				for b.Loop() {
					d, err := e.Diff(b.Context(), was, now, 0)
					must(b, "diff", err)
					if d.Sockets != n {
						b.Fatalf("%d sockets", d.Sockets)
					}
				}
			})
		}
	}
}
