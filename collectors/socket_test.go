package collectors

import (
	"context"
	"encoding/json"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func TestAddrText(t *testing.T) {
	for text, mapped := range map[string]string{
		"10.9.0.1":         "10.9.0.1",
		"0.0.0.0":          "0.0.0.0",
		"255.255.255.255":  "255.255.255.255",
		"::":               "::",
		"::1":              "::1",
		"fd00:9::1":        "fd00:9::1",
		"::ffff:10.9.0.1":  "10.9.0.1", // counts as IPv4
		"::10.9.0.1":       "::a09:1",
		"fe80::9:1%lab0":   "fe80::9:1", // the interface is a field of its own
		"64:ff9b::1.2.3.4": "64:ff9b::102:304",
	} {
		var a, again Addr
		if err := a.UnmarshalText([]byte(text)); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		b, err := json.Marshal(a)
		if err != nil || string(b) != `"`+mapped+`"` {
			t.Errorf("%s is written %s (%v)", text, b, err)
		}
		if err := json.Unmarshal(b, &again); err != nil || again != a {
			t.Errorf("%s: %v, then %v (%v)", text, a, again, err)
		}
		ip := netip.MustParseAddr(text)
		if AddrFrom(ip) != a || a.Netip() != ip.Unmap().WithZone("") || a.IsZero() != ip.IsUnspecified() {
			t.Errorf("%s: %v, zero: %t", text, a.Netip(), a.IsZero())
		}
	}
	for _, text := range []string{"x", "10.9.0", "10.9.0.256", "10.9.0.1:80", "[::1]", "10.0.0.0/8"} {
		a := AddrFrom(netip.MustParseAddr("10.9.0.1"))
		before := a
		if err := a.UnmarshalText([]byte(text)); err == nil || a != before {
			t.Errorf("%q: %v, %v", text, a.Netip(), err)
		}
	}
}

// There is one way to write a prefix, and only an IPv4 prefix contains IPv4 addresses.
func TestPlainPrefix(t *testing.T) {
	for text, want := range map[string]string{
		"::ffff:10.1.2.3/104": "10.0.0.0/8",
		"::ffff:0:0/96":       "0.0.0.0/0",
		"::ffff:10.1.2.3/128": "10.1.2.3/32",
		"10.1.2.3/8":          "10.0.0.0/8",
		"::/0":                "::/0",
		"::/80":               "::/80",
		"::ffff:0:0/95":       "::fffe:0:0/95",
		"fd00::1/8":           "fd00::/8",
	} {
		p := PlainPrefix(netip.MustParsePrefix(text))
		if p.String() != want {
			t.Errorf("%s is %s, want %s", text, p, want)
		}
		four := KeyOf(&Socket{Protocol: TCP, State: Established, Family: IPv6, Remote: AddrFrom(netip.MustParseAddr("10.1.2.3"))})
		q := Query{Protocols: []Protocol{TCP}, States: AllStates, Clauses: []Clause{{Peers: []netip.Prefix{netip.MustParsePrefix(text)}}}}
		if q.Covers(&four) != p.Addr().Is4() {
			t.Errorf("%s covers 10.1.2.3: %t", text, q.Covers(&four))
		}
	}
	for text, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "::": false, "::10.1.2.3": false, "::fffe:0:0": false, "1::ffff:a01:203": false,
	} {
		if got := AddrFrom(netip.MustParseAddr(text)).IsIPv4(); got != want {
			t.Errorf("%s: %t", text, got)
		}
	}
}

func FuzzAddrText(f *testing.F) {
	f.Add([]byte("10.9.0.1"))
	f.Add([]byte("::ffff:10.9.0.1"))
	f.Add([]byte("fe80::1%eth0"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var a, again Addr
		if a.UnmarshalText(b) != nil {
			return
		}
		text, err := a.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		if err := again.UnmarshalText(text); err != nil || again != a {
			t.Errorf("%q: %v, written %s, read %v (%v)", b, a, text, again, err)
		}
	})
}

// Orphans and unaccepted sockets have no owner, each in its states.
func TestOwnerless(t *testing.T) {
	orphans, waiting := Mask(FinWait1, FinWait2, Closing, LastAck), Mask(Established, CloseWait)
	for s := range State(14) {
		for _, inode := range []uint32{0, 1} {
			for _, p := range []Protocol{TCP, UDP} {
				k := Socket{State: s, Inode: inode, Protocol: p}
				if got := Orphaned(&k); got != (inode == 0 && orphans.Has(s)) {
					t.Errorf("%s %s, inode %d: orphaned: %t", p, s, inode, got)
				}
				if got := Unaccepted(&k); got != (inode == 0 && p == TCP && waiting.Has(s)) {
					t.Errorf("%s %s, inode %d: unaccepted: %t", p, s, inode, got)
				}
			}
		}
	}
}

// Keys differ between two sockets and between two states of one socket, and in no other
// case.
func TestKeyOf(t *testing.T) {
	s := Socket{Cookie: 1, NetNS: 2, Local: Addr{3}, Remote: Addr{4}, LocalPort: 5, RemotePort: 6, Protocol: TCP, State: CloseWait}
	for name, change := range map[string]func(*Socket){
		"cookie": func(s *Socket) { s.Cookie++ }, "netns": func(s *Socket) { s.NetNS++ }, "state": func(s *Socket) { s.State = LastAck },
		"local": func(s *Socket) { s.Local[0]++ }, "remote": func(s *Socket) { s.Remote[0]++ }, "protocol": func(s *Socket) { s.Protocol = UDP },
		"port": func(s *Socket) { s.LocalPort++ }, "remote port": func(s *Socket) { s.RemotePort++ },
	} {
		other := s
		change(&other)
		if KeyOf(&other) == KeyOf(&s) {
			t.Errorf("another %s has the same key", name)
		}
	}
	same := s
	same.RecvQueue, same.Timer, same.Known, same.Info.RTT, same.Inode, same.IfIndex = 9, TimerProbe, Fields(FieldPort, FieldUser), 9, 9, 9
	if KeyOf(&same) != KeyOf(&s) {
		t.Error("the key depends on what changes by itself")
	}
}

func TestNumbers(t *testing.T) {
	for i, want := range []string{"none", "retransmit", "keepalive", "timewait", "probe", "none"} {
		if got := Timer(i).String(); got != want {
			t.Errorf("timer %d is %s", i, got)
		}
	}
	if TCP.String() != "tcp" || UDP.String() != "udp" {
		t.Errorf("%s, %s", TCP, UDP)
	}
}

// The parts of a query add up to the query and do not overlap.
func TestSplit(t *testing.T) {
	both := []Protocol{TCP, UDP}
	for _, c := range []struct {
		protocols []Protocol
		n, parts  int
	}{
		{both, 2, 2}, {both, 8, 2}, {both, 1, 1}, {both, 0, 1}, {both, -1, 1}, {[]Protocol{UDP}, 4, 1}, {nil, 4, 1}, {[]Protocol{TCP, UDP, 33}, 2, 2},
	} {
		q := Query{Protocols: c.protocols, States: Mask(CloseWait, Close), Fields: Fields(FieldPort, FieldRTT)}
		parts := Split(q, c.n)
		if len(parts) != c.parts {
			t.Errorf("%v in %d: %+v", c.protocols, c.n, parts)
		}
		var all []Protocol
		for _, p := range parts {
			all = append(all, p.Protocols...)
			if p.States != q.States || p.Fields != q.Fields {
				t.Errorf("%v in %d: part %+v", c.protocols, c.n, p)
			}
		}
		slices.Sort(all)
		if !slices.Equal(all, c.protocols) || !slices.Equal(q.Protocols, c.protocols) {
			t.Errorf("%v in %d: together %v", c.protocols, c.n, all)
		}
	}
}

func TestCovers(t *testing.T) {
	q := Query{Protocols: []Protocol{TCP}, States: Mask(CloseWait, FinWait2)}
	for p, states := range map[Protocol]StateMask{TCP: q.States, UDP: 0} {
		for s := range State(40) {
			if got := q.Covers(&Key{Protocol: p, State: s}); got != states.Has(s) {
				t.Errorf("%s %s: %t", p, s, got)
			}
		}
	}
}

// A clause covers whatever all its parts match, and a query whatever one of its clauses
// matches.
func TestCoversClauses(t *testing.T) {
	key := Key{
		Protocol: TCP, State: CloseWait, LocalPort: 21117, RemotePort: 40000,
		Local: AddrFrom(netip.MustParseAddr("10.0.0.1")), Remote: AddrFrom(netip.MustParseAddr("::ffff:10.1.2.3")),
	}
	never := Clause{Local: []PortRange{{1, 2}}}
	for name, c := range map[string]struct {
		want    bool
		clauses []Clause
	}{
		"none":          {true, nil},
		"empty":         {true, []Clause{{}}},
		"local":         {true, []Clause{{Local: []PortRange{{22, 22}, {21115, 21119}}}}},
		"not local":     {false, []Clause{never}},
		"one of two":    {true, []Clause{never, {Remote: []PortRange{{40000, 40000}}}}},
		"not remote":    {false, []Clause{{Remote: []PortRange{{0, 39999}, {40001, 65535}}}}},
		"peer":          {true, []Clause{{Peers: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}}}},
		"not peer":      {false, []Clause{{Peers: []netip.Prefix{netip.MustParsePrefix("10.2.0.0/16"), netip.MustParsePrefix("::/0")}}}},
		"family":        {true, []Clause{{Family: IPv4}}},
		"not family":    {false, []Clause{{Family: IPv6}}},
		"not states":    {false, []Clause{{States: Mask(Listen)}}},
		"not protocol":  {false, []Clause{{Protocols: []Protocol{UDP}}}},
		"not all parts": {false, []Clause{{States: Mask(CloseWait), Family: IPv4, Local: []PortRange{{1, 2}}}}},
	} {
		q := Query{Protocols: []Protocol{TCP, UDP}, States: AllStates, Clauses: c.clauses}
		if got := q.Covers(&key); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

func TestMergePorts(t *testing.T) {
	got := MergePorts([]PortRange{{65535, 65535}, {80, 90}, {1, 2}, {3, 3}, {85, 100}, {0, 0}, {200, 65534}})
	if want := []PortRange{{0, 3}, {80, 100}, {200, 65535}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// The two parts of a query do not overlap and together ask for everything.
func TestSplitAt(t *testing.T) {
	q := Query{Protocols: []Protocol{TCP}, States: AllStates}
	for _, at := range []uint16{1, 40000, 65535} {
		parts := SplitAt(q, at)
		for port := range 65536 {
			k := Key{Protocol: TCP, State: CloseWait, RemotePort: uint16(port)}
			if len(parts) != 2 || parts[0].Covers(&k) == parts[1].Covers(&k) {
				t.Fatalf("at %d, port %d: %d parts", at, port, len(parts))
			}
		}
	}
	q.Clauses = []Clause{{States: Mask(Listen)}, {States: Mask(CloseWait), Family: IPv4}}
	for _, part := range SplitAt(q, 40000) {
		if part.States != Mask(Listen, CloseWait) || len(part.Clauses) != 1 {
			t.Errorf("part %+v", part)
		}
	}
	narrow, plain, both := q, q, q
	narrow.Clauses = q.Clauses[1:]
	plain.Plain = true
	both.Protocols = []Protocol{TCP, UDP}
	for _, q := range []Query{narrow, plain, both} {
		if len(SplitAt(q, 40000)) != 1 {
			t.Errorf("%+v was split", q)
		}
	}
}

type nothing struct{}

func (nothing) Collect(context.Context, Query) iter.Seq2[*Socket, error] {
	return func(func(*Socket, error) bool) {}
}

func TestRegistry(t *testing.T) {
	make := func(int) Collector { return nothing{} }
	a, b := Plugin{Name: "a", New: make}, Plugin{Name: "b", New: make}
	for name, plugins := range map[string][]Plugin{"no name": {a, {New: make}}, "no New": {{Name: "c"}}, "twice": {a, b, a}} {
		if r, err := NewRegistry(plugins...); err == nil || r != nil {
			t.Errorf("%s: accepted", name)
		}
	}
	r, err := NewRegistry(b, a)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := r.Get("a"); err != nil || p.Name != "a" {
		t.Errorf("a: %+v, %v", p, err)
	}
	if _, err := r.Get("c"); err == nil || !strings.Contains(err.Error(), `"c" (known: b, a)`) {
		t.Errorf("c: %v", err)
	}
	all := r.All()
	all[0].Name = "changed"
	if all := r.All(); len(all) != 2 || all[0].Name != "b" || all[1].Name != "a" {
		t.Errorf("all: %+v", all)
	}
}

// Each protocol has its own name and its own place in sets; MPTCP has the low bits of
// TCP.
func TestProtocols(t *testing.T) {
	var all ProtocolSet
	for i, p := range Protocols() {
		one := ProtocolsIn(p)
		for k, q := range Protocols() {
			if one.Has(q) != (i == k) {
				t.Errorf("%s in the set of %s: %t", q, p, one.Has(q))
			}
		}
		if named, ok := ProtocolNamed(p.String()); !ok || named != p {
			t.Errorf("%s is named %s (%t)", p, named, ok)
		}
		if p.Connects() != (p != UDP) {
			t.Errorf("%s connects: %t", p, p.Connects())
		}
		all |= one
	}
	if !slices.Equal(all.All(), Protocols()) || all.Has(0) || ProtocolsIn(0, 255) != 0 {
		t.Errorf("the set of all: %v", all.All())
	}
	if p, ok := ProtocolNamed("sctp"); ok {
		t.Errorf("sctp is %s", p)
	}
}
