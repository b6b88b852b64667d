package rules

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"

	"sockwarden/collectors"
)

// oracle is what expr's own machine sees of a record.
func oracle(r *collectors.Record) map[string]any {
	env := map[string]any{
		"limit": 60, "ratio": 0.5, "negative": -5, "yes_var": true, "no_var": false, "server": "hbbs",
		"timeouts": map[string]float64{"hbbs": 30, "nginx": 60}, "words": map[string]string{"hbbs": "relay", "nginx": "web"},
	}
	for f := range allFields().Each {
		v, _ := collectors.Value(f, r)
		if n, isNum := v.(float64); isNum && (f.Doc().Type == collectors.TypePort || f == collectors.FieldUID) {
			v = int(n)
		}
		env[f.String()] = v
	}
	return env
}

// plainly compiles the plain half of an expression by expr itself.
func plainly(t *testing.T, text string, env map[string]any) *vm.Program {
	t.Helper()
	ip := func(v any) netip.Addr {
		if s, ok := v.(string); ok {
			return netip.MustParseAddr(s).Unmap()
		}
		return v.(netip.Addr).Unmap()
	}
	p, err := expr.Compile(text, expr.Env(env), expr.AsBool(),
		expr.Function("inside", func(args ...any) (any, error) {
			// No prefix of IPv6 contains an IPv4 address, but for those of mapped ones,
			// which are prefixes of IPv4.
			return mapped(netip.MustParsePrefix(args[1].(string))).Contains(ip(args[0])), nil
		}, new(func(netip.Addr, string) bool)),
		expr.Function("same", func(args ...any) (any, error) { return ip(args[0]) == ip(args[1]), nil }, new(func(netip.Addr, string) bool)),
		expr.Function("equal", func(args ...any) (any, error) { return ip(args[0]) == ip(args[1]), nil }, new(func(netip.Addr, netip.Addr) bool)))
	if err != nil {
		t.Fatalf("expr does not take %s: %v", text, err)
	}
	return p
}

func mapped(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

// TestOracle: of fully known records random conditions say what expr's own
// machine says.
func TestOracle(t *testing.T) {
	sc := scopeOf(t, randomDefinitions)
	var counts [3]int
	for seed := range uint64(6000) {
		w := writer{rand.New(rand.NewPCG(seed, 1))}
		text := w.condition(3)
		records := []*collectors.Record{randomRecord(w), randomRecord(w), randomRecord(w), randomRecord(w)}
		cond := compiled(t, sc, text.rules)
		plain := plainly(t, text.plain, oracle(records[0]))
		for _, r := range records {
			want, err := vm.Run(plain, oracle(r))
			if err != nil {
				t.Fatalf("seed %d: %s: %v", seed, text.plain, err)
			}
			got := cond.Eval(r)
			if got != triOf(want.(bool)) {
				t.Fatalf("seed %d:\n%s\nis %v, but expr says %v of\n%s\nrecord %v", seed, text.rules, got, want, text.plain, collectors.Map(r))
			}
			counts[got]++
		}
	}
	if counts[True] < 2000 || counts[False] < 2000 {
		t.Errorf("%d true and %d false: the conditions decide nothing", counts[True], counts[False])
	}
}

// group is what changes together in a record.
type group struct {
	fields collectors.FieldSet
	copy   func(to, from *collectors.Record)
}

// groups lists everything in a record but state, protocol and age.
func groups() []group {
	of := collectors.Fields
	socket := func(f func(to, from *collectors.Socket)) func(to, from *collectors.Record) {
		return func(to, from *collectors.Record) { f(to.Socket, from.Socket) }
	}
	owner := func(f func(to, from *collectors.Owner)) func(to, from *collectors.Record) {
		return func(to, from *collectors.Record) { f(to.Owner, from.Owner) }
	}
	return []group{
		{of(collectors.FieldFamily, collectors.FieldLocalAddr, collectors.FieldRemoteAddr, collectors.FieldRemotePort), socket(func(to, from *collectors.Socket) {
			to.Family, to.Local, to.Remote, to.RemotePort = from.Family, from.Local, from.Remote, from.RemotePort
		})},
		{of(collectors.FieldPort), socket(func(to, from *collectors.Socket) { to.LocalPort = from.LocalPort })},
		{of(collectors.FieldInterface), socket(func(to, from *collectors.Socket) { to.IfIndex = from.IfIndex })},
		{of(collectors.FieldCookie), socket(func(to, from *collectors.Socket) { to.Cookie = from.Cookie })},
		{
			of(collectors.FieldInode, collectors.FieldOwned, collectors.FieldOrphan, collectors.FieldUnaccepted, collectors.FieldEOFRead, collectors.FieldRecvQueue),
			socket(func(to, from *collectors.Socket) { to.Inode, to.RecvQueue = from.Inode, from.RecvQueue }),
		},
		{
			of(collectors.FieldIdle, collectors.FieldIdleRecv, collectors.FieldIdleSend, collectors.FieldAckIdle, collectors.FieldRTT,
				collectors.FieldRTO, collectors.FieldBackoff, collectors.FieldBytesSent, collectors.FieldBytesReceived),
			socket(func(to, from *collectors.Socket) { // whether there is a stamp, the others say
				to.Info.LastDataRecv, to.Info.LastDataSent, to.Info.LastAckRecv = from.Info.LastDataRecv, from.Info.LastDataSent, from.Info.LastAckRecv
				to.Info.RTT, to.Info.RTO, to.Info.Backoff = from.Info.RTT, from.Info.RTO, from.Info.Backoff
				to.Info.BytesSent, to.Info.BytesReceived = from.Info.BytesSent, from.Info.BytesReceived
			}),
		},
		{of(collectors.FieldSendQueue), socket(func(to, from *collectors.Socket) { to.SendQueue = from.SendQueue })},
		{of(collectors.FieldTimer, collectors.FieldTimerExpires, collectors.FieldRetransmits), socket(func(to, from *collectors.Socket) {
			to.Timer, to.TimerExpires, to.Retransmits = from.Timer, from.TimerExpires, from.Retransmits
		})},
		{of(collectors.FieldUnacked, collectors.FieldLost), socket(func(to, from *collectors.Socket) {
			to.Info.Unacked, to.Info.Lost = from.Info.Unacked, from.Info.Lost
		})},
		{of(collectors.FieldUID), socket(func(to, from *collectors.Socket) { to.UID = from.UID })},
		{of(collectors.FieldOwners), func(to, from *collectors.Record) { to.Facts.Owners = from.Facts.Owners }},
		{of(collectors.FieldPID), owner(func(to, from *collectors.Owner) { to.PID = from.PID })},
		{of(collectors.FieldProcess), owner(func(to, from *collectors.Owner) { to.Name = from.Name })},
		{of(collectors.FieldExe, collectors.FieldCmdline), owner(func(to, from *collectors.Owner) { to.Exe, to.Cmdline = from.Exe, from.Cmdline })},
		{of(collectors.FieldProcessAge), owner(func(to, from *collectors.Owner) { to.Age = from.Age })},
		{of(collectors.FieldUser), owner(func(to, from *collectors.Owner) { to.User = from.User })},
		{of(collectors.FieldFDs, collectors.FieldFDLimit), owner(func(to, from *collectors.Owner) { to.FDs, to.FDLimit = from.FDs, from.FDLimit })},
		{of(collectors.FieldUnit, collectors.FieldCgroup), owner(func(to, from *collectors.Owner) { to.Unit, to.Cgroup = from.Unit, from.Cgroup })},
		{of(collectors.FieldContainer, collectors.FieldContainerID), owner(func(to, from *collectors.Owner) {
			to.ContainerName, to.Container = from.ContainerName, from.Container
		})},
		{of(collectors.FieldNetNS), func(to, from *collectors.Record) { to.Namespace = from.Namespace }},
		{of(collectors.FieldHost), func(to, from *collectors.Record) { to.Host = from.Host }},
		{of(collectors.FieldListenerProcess), func(to, from *collectors.Record) { to.Facts.ListenerOwner = from.Facts.ListenerOwner }},
		{of(collectors.FieldDirection), func(to, from *collectors.Record) { to.Facts.Direction = from.Facts.Direction }},
		{of(collectors.FieldAgeSource), func(to, from *collectors.Record) { to.Facts.Age.Source = from.Facts.Age.Source }},
	}
}

// A field that is in no group would be known of every random record, and be true of
// every completion of it: nothing would be tested of it.
func TestGroupsHaveEachField(t *testing.T) {
	grouped := collectors.Fields(collectors.FieldState, collectors.FieldProtocol, collectors.FieldAge, collectors.FieldAgeMax)
	for _, g := range groups() {
		if grouped.Meets(g.fields) {
			t.Errorf("in two groups: %s", grouped.And(g.fields))
		}
		grouped.Add(g.fields)
	}
	if missing := allFields().AndNot(grouped); !missing.Empty() {
		t.Errorf("in no group: %s", missing)
	}
}

// hide makes a random part of r unknown, and its age an interval around the
// true one.
func hide(w writer, r *collectors.Record) {
	for _, g := range groups() {
		if w.IntN(3) == 0 {
			r.Known.Remove(g.fields)
		}
	}
	a := &r.Facts.Age
	if w.IntN(2) == 0 {
		a.Min = pick(w, 0, a.Min/2, a.Min)
	}
	switch w.IntN(3) {
	case 0:
		a.Max, a.Bounded = 0, false
		r.Known.Remove(collectors.Fields(collectors.FieldAgeMax))
	case 1:
		a.Max += pick[float64](w, 0, 10, 100)
	}
	r.Facts.Complete = false
}

// complete returns a record of which everything is known and that agrees with
// what is known of r.
func complete(w writer, r *collectors.Record, keepMax bool) *collectors.Record {
	c := randomRecord(w)
	c.Socket.State, c.Socket.Protocol = r.Socket.State, r.Socket.Protocol
	for _, g := range groups() {
		if r.Known.Meets(g.fields) {
			g.copy(c, r)
		}
	}
	known := r.Facts.Age
	high := known.Max
	if !known.Bounded {
		high = known.Min + pick[float64](w, 0, 1, 100, 10000)
	}
	age := pick(w, known.Min, high, known.Min+(high-known.Min)*w.Float64())
	a := &c.Facts.Age
	a.Min, a.Max, a.Bounded = age, age, true
	if keepMax {
		a.Max = high
	}
	return c
}

// TestSound: what a condition says of a record of which only a part is known,
// it says of every record that agrees with this part.
func TestSound(t *testing.T) {
	sc := scopeOf(t, randomDefinitions)
	var counts [3]int
	for seed := range uint64(8000) {
		w := writer{rand.New(rand.NewPCG(seed, 2))}
		text := w.condition(3).rules
		cond := compiled(t, sc, text)
		keepMax := cond.Reads.Has(collectors.FieldAgeMax)
		r := randomRecord(w)
		hide(w, r)
		got := cond.Eval(r)
		counts[got]++
		if got == Unknown {
			continue
		}
		for range 8 {
			c := complete(w, r, keepMax)
			if full := cond.Eval(c); full != got {
				t.Fatalf("seed %d: %s\nis %v of %v,\nbut %v of %v", seed, text, got, collectors.Map(r), full, collectors.Map(c))
			}
		}
		r.Facts.Complete = true
		if looked := cond.Eval(r); looked != got {
			t.Fatalf("seed %d: %s\nis %v of %v,\nbut %v once everything was looked for", seed, text, got, collectors.Map(r), looked)
		}
	}
	if min(counts[True], counts[False], counts[Unknown]) < 1000 {
		t.Errorf("%d true, %d false, %d unknown: nothing was tested", counts[True], counts[False], counts[Unknown])
	}
}

// TestKnownNever: of a fully known record nothing is unknown.
func TestKnownNever(t *testing.T) {
	sc := scopeOf(t, randomDefinitions)
	for seed := range uint64(2000) {
		w := writer{rand.New(rand.NewPCG(seed, 3))}
		text := w.condition(4).rules
		if got := eval(t, sc, text, randomRecord(w)); got == Unknown {
			t.Fatalf("seed %d: %s is unknown", seed, text)
		}
	}
}

// isPossible reports whether a record's addresses go with its family.
func isPossible(s *collectors.Socket) bool {
	return s.Family == collectors.IPv6 || s.Local.Netip().Is4() && s.Remote.Netip().Is4()
}

// TestPlan: the plan never loses a socket for which a rule may hold, and the
// evaluator returns exactly these rules.
func TestPlan(t *testing.T) {
	sc := scopeOf(t, randomDefinitions)
	narrow, narrower, hits := 0, 0, 0
	for seed := range uint64(4000) {
		w := writer{rand.New(rand.NewPCG(seed, 4))}
		p := &Program{}
		var texts []string
		for range 1 + w.IntN(3) {
			text := w.condition(2).rules
			texts = append(texts, text)
			p.Rules = append(p.Rules, &Rule{When: compiled(t, sc, text), Mode: pick(w, ModeEnforce, ModeEnforce, ModeObserve, ModeDisabled), netns: []string{"host"}})
		}
		p.seal()
		if p.Query.States != collectors.AllStates {
			narrow++
		}
		if len(p.Query.Clauses) == 1 && (p.Query.Clauses[0].Local != nil || p.Query.Clauses[0].Remote != nil || p.Query.Clauses[0].Peers != nil) {
			narrower++
		}
		e := p.NewEvaluator()
		for range 12 {
			r := randomRecord(w)
			if w.IntN(2) == 0 {
				hide(w, r)
				r.Known.Add(alwaysKnown)
			}
			var want []int
			for i, rule := range p.Rules {
				about := r.Socket.Protocol == collectors.TCP || rule.When.Reads.Has(collectors.FieldProtocol)
				// What only moves data still is remembered for its age.
				later := *r
				later.Known.Remove(idleFields)
				remembered := rule.When.Reads.Meets(collectors.AgeFields()) && r.Socket.State != collectors.Established && rule.When.Eval(&later) != False
				if rule.Mode == ModeDisabled || !about || rule.When.Eval(r) == False && !remembered {
					continue
				}
				want = append(want, i)
				key := collectors.KeyOf(r.Socket)
				if isPossible(r.Socket) && !p.Query.Covers(&key) {
					t.Fatalf("seed %d: %q may hold for %v, but the query is %v", seed, texts[i], collectors.Map(r), p.Query)
				}
				if missing := rule.When.Reads.AndNot(p.Reads); !missing.Empty() {
					t.Fatalf("seed %d: %q reads %s, the program does not", seed, texts[i], missing)
				}
			}
			hits += len(want)
			got := e.Match(r)
			if !slices.Equal(got, want) {
				t.Fatalf("seed %d: of %q\nmatch %v, want %v for %v", seed, texts, got, want, collectors.Map(r))
			}
		}
	}
	if narrow < 500 || narrower < 100 || hits < 5000 {
		t.Errorf("%d queries of some states, %d of some ports or peers, %d hits: nothing was tested", narrow, narrower, hits)
	}
}
