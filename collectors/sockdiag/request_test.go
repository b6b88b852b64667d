package sockdiag

import (
	"testing"

	"sockwarden/collectors"
)

// extOf returns the idiag_ext of each walk that answers a query; all must agree.
func extOf(t *testing.T, q collectors.Query, p collectors.Protocol) uint8 {
	t.Helper()
	all := walks(q, p)
	if len(all) == 0 {
		t.Fatalf("%s is not asked for", p)
	}
	var ext uint8
	for i, w := range all {
		at := 2 // of struct inet_diag_req_v2
		if w.typ == typeGetSock {
			at = 3 // of struct inet_diag_req
		}
		if i > 0 && w.body[at] != ext {
			t.Errorf("%s asks for %#x, another for %#x", w.String(), w.body[at], ext)
		}
		ext = w.body[at]
	}
	return ext
}

// extOfCost is what the kernel is asked for, by cost: nothing for any other cost.
var extOfCost = map[collectors.Protocol]map[collectors.Cost]uint8{
	collectors.TCP: {
		collectors.CostInfo: extInfo, collectors.CostAge: extInfo, collectors.CostStall: extInfo, collectors.CostMemory: extMemory,
		collectors.CostCongestion: extCong,
	},
	collectors.UDP: {collectors.CostMemory: extMemory},
}

// Each kind of request asks for what the wanted fields cost, and for nothing else.
func TestExtensions(t *testing.T) {
	both := []collectors.Protocol{collectors.TCP, collectors.UDP}
	clauses := map[string][]collectors.Clause{"all": nil, "IPv6": {{Family: collectors.IPv6}}, "ports": {{Local: []collectors.PortRange{{Low: 80, High: 81}}}}}
	for name, c := range clauses {
		for _, plain := range []bool{false, true} {
			q := collectors.Query{Protocols: both, States: collectors.AllStates, Clauses: c, Plain: plain}
			for _, d := range collectors.AllFields() {
				q.Fields = collectors.Fields(d.Field)
				for _, p := range both {
					if got, want := extOf(t, q, p), extOfCost[p][d.Cost]; got != want {
						t.Errorf("%s, %s, plain %t: %s asks for %#x, not %#x", d.Name, name, plain, p, got, want)
					}
				}
			}
			for _, p := range both {
				all := uint8(0)
				for _, d := range collectors.AllFields() {
					q.Fields.Add(collectors.Fields(d.Field))
					all |= extOfCost[p][d.Cost]
				}
				one := exactRequest(&collectors.Socket{Protocol: p})[2]
				if got := extOf(t, q, p); got != all || one != all {
					t.Errorf("%s, %s, plain %t: all fields ask for %#x, and one socket is asked for by %#x", p, name, plain, got, one)
				}
			}
		}
	}
}
