package sockdiag

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// randomClauses returns clauses about some of the sockets, and about others.
func randomClauses(w *rand.Rand, socks []collectors.Socket) []collectors.Clause {
	port := func(p uint16) collectors.PortRange {
		low, high := p, p
		if w.IntN(2) == 0 {
			low, high = p-min(p, uint16(w.IntN(300))), p+min(65535-p, uint16(w.IntN(300)))
		}
		if w.IntN(10) == 0 {
			low = 0
		}
		if w.IntN(10) == 0 {
			high = 65535
		}
		return collectors.PortRange{Low: low, High: high}
	}
	var clauses []collectors.Clause
	for range 1 + w.IntN(4) {
		var c collectors.Clause
		for range w.IntN(3) {
			c.Local = append(c.Local, port(socks[w.IntN(len(socks))].LocalPort))
		}
		for range w.IntN(3) {
			c.Remote = append(c.Remote, port(socks[w.IntN(len(socks))].RemotePort))
		}
		c.Local, c.Remote = collectors.MergePorts(c.Local), collectors.MergePorts(c.Remote)
		for range w.IntN(3) {
			ip := socks[w.IntN(len(socks))].Remote.Netip()
			p := netip.PrefixFrom(ip, ip.BitLen()-w.IntN(20)).Masked()
			switch w.IntN(6) {
			case 0: // a short IPv6 prefix that includes the mapped addresses
				p = netip.PrefixFrom(netip.AddrFrom16(ip.As16()), w.IntN(collectors.MappedBits)).Masked()
			case 1: // a prefix of mapped addresses
				p = netip.PrefixFrom(netip.AddrFrom16(ip.As16()), 128-w.IntN(20))
			}
			c.Peers = append(c.Peers, p)
		}
		c.Family = []collectors.Family{0, 0, collectors.IPv4, collectors.IPv6}[w.IntN(4)]
		clauses = append(clauses, c)
	}
	return clauses
}

// widened is the query as the kernel can be asked: IPv6 sockets that speak IPv4 are among
// the others, even for a short IPv6 prefix.
func widened(q collectors.Query, s *collectors.Socket) collectors.Query {
	q.Clauses = slices.Clone(q.Clauses)
	for i := range q.Clauses {
		if q.Clauses[i].Family == collectors.IPv6 && s.Family == collectors.IPv6 {
			q.Clauses[i].Family = 0
		}
		if slices.ContainsFunc(q.Clauses[i].Peers, func(p netip.Prefix) bool {
			return s.Family == collectors.IPv6 && p.Addr().Is6() && p.Contains(netip.AddrFrom16(s.Remote))
		}) {
			q.Clauses[i].Peers = nil
		}
	}
	return q
}

// For random clauses the kernel shows exactly the sockets that match, in every state; for
// a clause about IPv4 over an IPv6 socket it shows all of those.
func TestBytecode(t *testing.T) {
	for _, k := range socklab.Kinds() {
		for _, f := range socklab.Families() {
			socklab.Make(t, k, f)
		}
	}
	c := dialTest(t, -1)
	all := everything
	all.Plain = true
	some, none := 0, 0
	for seed := range uint64(400) {
		w := rand.New(rand.NewPCG(seed, 1))
		before := dumpTest(t, c, all)
		q := everything
		q.Clauses = randomClauses(w, before)
		got := map[uint64]bool{}
		for _, s := range dumpTest(t, c, q) {
			got[s.Cookie] = true
		}
		after := map[uint64]bool{}
		for _, s := range dumpTest(t, c, all) {
			after[s.Cookie] = true
		}
		for _, s := range before {
			key := collectors.KeyOf(&s)
			if !after[s.Cookie] {
				continue // ended in between
			}
			want, may := q.Covers(&key), widened(q, &s)
			if want && !got[s.Cookie] || got[s.Cookie] && !may.Covers(&key) {
				local, remote := ends(&s)
				t.Errorf("seed %d: %s %s %s %s shown: %t, want %t by %+v", seed, s.Protocol, s.State, local, remote, !want, want, q.Clauses)
			}
		}
		if len(got) == 0 {
			none++
		} else if len(got) < len(before) {
			some++
		}
		if t.Failed() {
			return
		}
	}
	if some < 100 || none > 200 {
		t.Errorf("%d narrowed, %d empty: nothing was tested", some, none)
	}
}

// holds runs a program as the kernel does (inet_diag_bc_run in net/ipv4/inet_diag.c), for
// ports only.
func holds(t testing.TB, code []byte, local, remote uint16) bool {
	t.Helper()
	at := 0
	for at < len(code) {
		op, yes, no := code[at], int(code[at+1]), int(ne.Uint16(code[at+2:]))
		if op == opJump {
			at += no
			continue
		}
		operand := ne.Uint16(code[at+6:])
		if map[byte]bool{
			opLocalGE: local >= operand, opLocalLE: local <= operand,
			opRemoteGE: remote >= operand, opRemoteLE: remote <= operand,
		}[op] {
			at += yes
		} else {
			at += no
		}
	}
	if at != len(code) && at != len(code)+opLen {
		t.Fatalf("the program ends at %d of %d", at, len(code))
	}
	return at == len(code)
}

// With more clauses or ranges than the kernel should go through, the program matches more
// sockets, never fewer.
func TestCoarserBytecode(t *testing.T) {
	c := dialTest(t, -1)
	for _, n := range []int{1, 2, 48, 49, 97, 500, 3000} {
		for _, one := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d %t", n, one), func(t *testing.T) {
				w := rand.New(rand.NewPCG(uint64(n), 2))
				var ports []collectors.PortRange
				for range n {
					low := uint16(w.IntN(60000))
					ports = append(ports, collectors.PortRange{Low: low, High: low + uint16(w.IntN(3))})
				}
				clauses := []collectors.Clause{{Local: collectors.MergePorts(slices.Clone(ports))}}
				if !one {
					clauses = nil
					for _, r := range ports {
						clauses = append(clauses, collectors.Clause{Local: []collectors.PortRange{r}, Remote: []collectors.PortRange{{Low: 7, High: 9}}})
					}
				}
				code := bytecode(clauses)
				if len(code) == 0 || len(code) > maxBytecode {
					t.Fatalf("%d bytes", len(code))
				}
				for range 2000 {
					r := ports[w.IntN(len(ports))]
					if !holds(t, code, r.Low, 8) || !holds(t, code, r.High, 7) {
						t.Fatalf("%v is lost", r)
					}
				}
				if out := holds(t, code, 65535, 8) || !one && holds(t, code, ports[0].Low, 10); out {
					t.Error("it filters nothing")
				}
				q := everything
				q.Clauses = clauses
				dumpTest(t, c, q) // the kernel accepts it
			})
		}
	}
}

// Nothing is filtered if one clause asks for everything, or if there are too many clauses
// with nothing in common.
func TestNoBytecode(t *testing.T) {
	for name, clauses := range map[string][]collectors.Clause{
		"none":     nil,
		"one of":   {{Local: []collectors.PortRange{{Low: 1, High: 2}}}, {States: collectors.Mask(collectors.Listen)}},
		"too many": slices.Repeat([]collectors.Clause{{Family: collectors.IPv4}}, maxClauses+1),
	} {
		if code := bytecode(clauses); code != nil {
			t.Errorf("%s: %d bytes", name, len(code))
		}
	}
}

// The layout of the kernel's structures, byte by byte.
func TestBytecodeLayout(t *testing.T) {
	code := bytecode([]collectors.Clause{{
		Local: []collectors.PortRange{{Low: 22, High: 22}, {Low: 21115, High: 21119}},
		Peers: []netip.Prefix{netip.MustParsePrefix("10.9.0.0/24")},
	}})
	var want []byte
	op := func(code, yes byte, no uint16) { want = binary.NativeEndian.AppendUint16(append(want, code, yes), no) }
	op(opLocalGE, 8, 20)
	op(0, 0, 22)
	op(opLocalLE, 8, 12)
	op(0, 0, 22)
	op(opJump, 4, 20)
	op(opLocalGE, 8, 36)
	op(0, 0, 21115)
	op(opLocalLE, 8, 28)
	op(0, 0, 21119)
	op(opRemoteCond, 16, 20)
	want = append(want, 2, 24, 0, 0, 0xff, 0xff, 0xff, 0xff, 10, 9, 0, 0)
	if !slices.Equal(code, want) {
		t.Errorf("program\n%x, want\n%x", code, want)
	}
}

// One walk for both families shows the same records as one walk for each.
func TestOneWalk(t *testing.T) {
	for _, k := range socklab.Kinds() {
		for _, f := range socklab.Families() {
			socklab.Make(t, k, f)
		}
	}
	c := dialTest(t, -1)
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.AllStates, Fields: collectors.InfoFields()}
	plain := q
	plain.Plain = true
	if len(walks(q, collectors.TCP)) != 1 || len(walks(plain, collectors.TCP)) != 2 {
		t.Fatal("one walk for both families is not what is asked for")
	}
	type shown struct {
		key   collectors.Key
		known collectors.FieldSet
		inode uint32
	}
	look := func(q collectors.Query) map[shown]bool {
		all := map[shown]bool{}
		for _, s := range dumpTest(t, c, q) {
			all[shown{collectors.KeyOf(&s), s.Known, s.Inode}] = true
		}
		return all
	}
	one, two, again := look(q), look(plain), look(q)
	for s := range two {
		if again[s] && !one[s] || !again[s] && one[s] {
			continue // came or went
		}
		if !one[s] {
			t.Errorf("not in one walk: %+v", s)
		}
	}
	for s := range one {
		if again[s] && !two[s] {
			t.Errorf("only in one walk: %+v", s)
		}
	}
	if len(one) < len(socklab.Kinds()) {
		t.Errorf("%d records: nothing was tested", len(one))
	}
}

// A kernel that does not understand a request is asked in the simplest way, over the same
// connection.
func TestRequestNotUnderstood(t *testing.T) {
	made := socklab.Make(t, socklab.CloseWait, socklab.IPv6)
	c := dialTest(t, -1)
	q := everything
	q.Clauses = []collectors.Clause{{Local: []collectors.PortRange{{Low: made.Local.Port(), High: made.Local.Port()}}}}
	unknown := []byte{200, 4, 8, 0} // no such operation
	for _, w := range []walk{
		{typeGetSock, collectors.TCP, 0, getSockRequest(collectors.AllStates, extInfo, unknown)},
		{typeByFamily, collectors.TCP, collectors.IPv6, dumpRequest(collectors.IPv6, collectors.TCP, collectors.AllStates, extInfo, unknown)},
	} {
		shown := false
		more := c.answer(t.Context(), &w, q, func(s *collectors.Socket, err error) bool {
			must(t, w.String(), err)
			local, _ := ends(s)
			shown = shown || local == made.Local && s.State == collectors.CloseWait
			return true
		})
		if !more || !shown || c.busy {
			t.Errorf("%s: to its end %t, shown %t, busy %t", &w, more, shown, c.busy)
		}
	}
}
