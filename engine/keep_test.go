package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"sockwarden/actions"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/report"
)

// Of one peer's connections, only those beyond the number are destroyed: the newest, or
// the oldest if order says so, by when they were first seen.
func TestKeep(t *testing.T) {
	for order, want := range map[string][]bool{"oldest": {true, true, false, false}, "newest": {false, false, true, true}} {
		t.Run(order, func(t *testing.T) {
			l := newLab(t, Options{Live: true, Events: EventsOff}).watching()
			all := socklab.Many(t, socklab.Established, socklab.IPv4, 4)
			first, last := all[:2], all[2:]
			server := socklab.StartHolder(t, socklab.HolderOptions{Conns: all})
			ports := func(conns []*socklab.Conn) string {
				var names []string
				for _, c := range conns {
					names = append(names, fmt.Sprint(c.Local.Port()))
				}
				return "port in [" + strings.Join(names, ", ") + "]"
			}
			rule := func(conns []*socklab.Conn) string {
				return ruleFile(`state == "ESTABLISHED" and `+ports(conns), "destroy", "group: remote_addr", "keep: 2", "order: "+order)
			}
			// Two are seen first; no others come until then.
			if r := l.run(t, l.rules(t, rule(first))); len(r.Findings) != 0 {
				t.Fatalf("two are not more than two:\n%s", describe(r))
			}
			p := l.rules(t, rule(slices.Concat(first, last)))
			// A connection seen only once has no place in the order and takes none.
			if r := l.run(t, p); len(r.Findings) != 0 {
				t.Errorf("seen once:\n%s", describe(r))
			}
			var r *report.Report
			socklab.WaitFor(t, "a decision", func() bool {
				r = l.run(t, p)
				return len(r.Findings) > 0
			})
			noErrors(t, r)
			for i, c := range all {
				if found := findingsOf(r, c); !want[i] {
					expect(t, findingOf(t, r, c), report.DecideAct, "beyond keep: 2, order: "+order, actions.FDStillHeld)
				} else if len(found) != 0 || !alive(c) {
					t.Errorf("%d is kept: %s", i, describe(r))
				}
			}
			if !server.Running() {
				t.Error("the server has ended")
			}
		})
	}
}
