package rules

import (
	"fmt"
	"slices"
	"testing"

	"sockwarden/collectors"
	"sockwarden/rules/lang/langtest"
)

// With many rules for different states and ports, the index finds for each socket exactly
// the rules that asking all of them finds, in their order.
func TestIndex(t *testing.T) {
	sc := scopeOf(t, randomDefinitions)
	for seed := range langtest.Rounds(30) {
		w := langtest.NewWriter(uint64(seed), 9)
		p := &Program{}
		for range 400 {
			a, b := w.IntN(300), w.IntN(300)
			text := langtest.Pick(w,
				fmt.Sprintf(`state == "CLOSE_WAIT" && port == %d`, a),
				fmt.Sprintf(`port in [%d, %d..%d] || remote_port == %d && port < 200`, a, b, b+20, a),
				fmt.Sprintf(`remote_port in %d..%d && state != "CLOSE_WAIT"`, a, a+50),
				fmt.Sprintf(`remote_port >= %d and port <= %d`, a, b),
				fmt.Sprintf(`not (port > %d) and state in ["ESTABLISHED", "CLOSE_WAIT"]`, a),
				fmt.Sprintf(`recv_queue > %d`, a),
				fmt.Sprintf(`port == %d and port == %d`, a, b),
				`port == 0 or port == 65535`,
			)
			p.Rules = append(p.Rules, &Rule{When: compiled(t, sc, text), Mode: ModeEnforce, netns: []string{"host"}})
		}
		p.seal()
		e := p.NewEvaluator()
		for range 300 {
			r := leak()
			r.Socket.LocalPort = langtest.Pick(w, uint16(w.IntN(320)), 0, 65535)
			r.Socket.RemotePort = langtest.Pick(w, uint16(w.IntN(320)), 0, 65535)
			r.Socket.RecvQueue = uint32(w.IntN(300))
			r.Socket.State = langtest.Pick(w, collectors.CloseWait, collectors.Established, collectors.Listen)
			var want []int
			for i, rule := range p.Rules {
				if rule.When.Eval(r) != False {
					want = append(want, i)
				}
			}
			if got := e.Match(r); !slices.Equal(got, want) {
				t.Fatalf("seed %d, ports %d and %d: rules %v, want %v", seed, r.Socket.LocalPort, r.Socket.RemotePort, got, want)
			}
		}
	}
}
