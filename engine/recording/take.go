package recording

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"sockwarden/collectors"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// Options say what to record.
type Options struct {
	// Chosen has one rule, whose condition chooses sockets; nil takes all. Selection says in
	// words what it chooses.
	Chosen    *rules.Program
	Selection string
	// Cmdline takes the arguments of processes along, which can hold secrets.
	Cmdline bool
}

// Take records a picture of all sockets, and what else verdicts about them depend on. The
// world is the one that the picture was taken of, a moment ago.
func Take(ctx context.Context, w *world.World, c *look.Picture, known memory.StateDoc, o Options) (*Recording, error) {
	t := &taker{
		world: w, picture: c, places: map[*look.Namespace]int{}, processes: map[processKey]int{},
		rec: &Recording{Memory: known, Containers: map[string]world.Container{}},
	}
	r := t.rec
	r.Header = Header{
		Host: w.Host.Name, Kernel: w.Host.Kernel.Release, Time: c.Began, Mono: c.Now, Looking: max(0, c.Now-c.Looked),
		Partial: o.Chosen != nil, Selection: o.Selection, Cmdline: o.Cmdline,
	}
	for _, err := range c.Errors {
		if c.Incomplete {
			r.Gaps = append(r.Gaps, err.Error())
		} else {
			r.Notes = append(r.Notes, err.Error())
		}
	}
	t.self()
	t.namespaces()
	if err := t.sockets(ctx, o); err != nil {
		return nil, err
	}
	t.addresses()
	t.counts()
	t.remembered()
	for _, part := range []func(context.Context){t.containers, t.logins, t.wholes, t.elsewhere} {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("record: %w", context.Cause(ctx))
		}
		part(ctx)
	}
	return r, nil
}

// taker records.
type taker struct {
	world     *world.World
	picture   *look.Picture
	rec       *Recording
	places    map[*look.Namespace]int
	processes map[processKey]int
}

func (t *taker) self() {
	cover := t.world.Owners.Coverage()
	t.rec.Sight = Sight{HidePID: cover.HidePID, Inside: cover.Inside, HostInit: cover.HostInit, Foreign: cover.Foreign}
	if len(t.picture.Unreadable) > 0 {
		t.rec.Sight.Unexamined = t.world.Owners.Unexamined(t.picture.Unreadable)
	}
	for _, cand := range t.picture.Candidates {
		if cover.HidePID != "" && cand.Hidden != "" {
			t.rec.Sight.Unexamined = cand.Hidden
			break
		}
	}
	s := &t.world.Self
	t.rec.Self = Self{PID: s.PID, Ancestors: slices.Sorted(maps.Keys(s.Ancestors))}
	for _, peer := range s.Session {
		t.rec.Self.Session = append(t.rec.Self.Session, peer.String())
	}
}

func (t *taker) namespaces() {
	for _, ns := range t.picture.Namespaces {
		d := Namespace{Name: ns.Name, Inode: ns.Inode, PID: ns.PID, Meant: ns.Meant, Own: ns.IsOwn(), Recorded: true, Initial: t.world.Network.Initial(&ns.Namespace)}
		names, err := t.world.Network.Interfaces(&ns.Namespace)
		if err == nil {
			d.Interfaces = names
		}
		ports, err := t.world.Network.Ports(&ns.Namespace)
		d.PortLow, d.PortHigh, d.AcceptsVRF = ports.Low, ports.High, ports.AcceptsVRF
		if err != nil {
			d.NoPorts = err.Error()
		}
		t.places[ns] = len(t.rec.Namespaces)
		t.rec.Namespaces = append(t.rec.Namespaces, d)
	}
	all, err := t.world.Namespaces.Every()
	if err != nil {
		t.rec.Unentered = err.Error()
		all, _ = t.world.Namespaces.All()
	}
	for _, ns := range all {
		if !slices.ContainsFunc(t.rec.Namespaces, func(d Namespace) bool { return d.Inode == ns.Inode }) {
			t.rec.Namespaces = append(t.rec.Namespaces, Namespace{Name: ns.Name, Inode: ns.Inode, PID: ns.PID})
		}
	}
	names := map[string]bool{}
	for i := range t.rec.Namespaces {
		d := &t.rec.Namespaces[i]
		if names[d.Name] {
			d.Name = fmt.Sprintf("%s#%d", d.Name, d.Inode)
		}
		names[d.Name] = true
	}
}

// sockets takes the selected sockets, and those that explain them: listeners, and the other
// ends of their connections.
func (t *taker) sockets(ctx context.Context, o Options) error {
	ends := map[tuple]bool{}
	chosen := make([]bool, len(t.picture.Candidates))
	for i, cand := range t.picture.Candidates {
		if i%1024 == 0 && ctx.Err() != nil {
			return fmt.Errorf("record: %w", context.Cause(ctx))
		}
		if chosen[i] = o.Chosen == nil || cand.Eval(o.Chosen.Rules[0].When) == rules.True; chosen[i] && o.Chosen != nil {
			s := &cand.Socket
			ends[tuple{0, s.Remote, s.Local, s.RemotePort, s.LocalPort}] = true
		}
	}
	for i, cand := range t.picture.Candidates {
		s := &cand.Socket
		beside := !chosen[i]
		if beside && s.State != collectors.Listen && !ends[tuple{0, s.Local, s.Remote, s.LocalPort, s.RemotePort}] {
			continue
		}
		one := Socket{Socket: *s, Place: t.places[cand.NS], Beside: beside, Cgroup: cand.Facts.Cgroup, AllHolders: cand.Hidden == "" && cand.Facts.Complete}
		if cand.Facts.Age.Source == collectors.AgeEvent {
			t.rec.Events = true
			const half = 0.0005 // of the millisecond to which ages are cut
			one.Since = max(0, t.picture.Now-cand.Facts.Age.Min-half)
		}
		for k := range cand.Facts.Owners {
			owner := &cand.Facts.Owners[k]
			one.Holders = append(one.Holders, Holder{t.process(owner), owner.FD})
		}
		t.rec.Sockets = append(t.rec.Sockets, one)
	}
	return nil
}

// process returns the place of a process in the recording.
func (t *taker) process(o *collectors.Owner) int {
	key := processKey{o.PID, o.StartTime}
	i, ok := t.processes[key]
	if !ok {
		i = len(t.rec.Processes)
		t.processes[key] = i
		p := Process{Owner: *o}
		if p.FD = 0; !t.rec.Cmdline {
			p.Known.Remove(collectors.Fields(collectors.FieldCmdline))
		}
		t.rec.Processes = append(t.rec.Processes, p)
	}
	return i
}

// addresses asks each namespace which of the addresses of all sockets are its own.
func (t *taker) addresses() {
	type question struct {
		addr   netip.Addr
		device uint32
	}
	asked := map[question]bool{}
	for i := range t.rec.Sockets {
		s := &t.rec.Sockets[i]
		device := s.IfIndex
		if device == collectors.UnknownIfIndex {
			device = 0
		}
		asked[question{s.Local.Netip(), device}], asked[question{s.Local.Netip(), 0}], asked[question{s.Remote.Netip(), 0}] = true, true, true
	}
	for ns, place := range t.places {
		d := &t.rec.Namespaces[place]
		own, err := t.world.Network.Addresses(&ns.Namespace)
		if err != nil {
			d.NoAddresses = err.Error()
			continue
		}
		d.BindsAny4, d.BindsAny6 = own.BindsAny4, own.BindsAny6
		for q := range asked {
			if own.Holds(q.addr, q.device) {
				d.Addresses = append(d.Addresses, deviceAddress(q.addr, q.device))
			}
		}
		slices.Sort(d.Addresses)
	}
}

// counts counts the sockets of all namespaces.
func (t *taker) counts() {
	all := make([]*world.Namespace, 0, len(t.places))
	places := make([]int, 0, len(t.places))
	for ns, place := range t.places {
		all, places = append(all, &ns.Namespace), append(places, place)
	}
	counts, errs := t.world.Counter.Count(all)
	for i, place := range places {
		if errs[i] == nil {
			t.rec.Namespaces[place].count(counts[i])
		}
	}
	others, err := t.world.Namespaces.All()
	if err != nil {
		return
	}
	for i := range t.rec.Namespaces {
		d := &t.rec.Namespaces[i]
		k := slices.IndexFunc(others, func(ns world.Namespace) bool { return ns.Inode == d.Inode })
		if d.Recorded || k < 0 || d.PID == 0 {
			continue
		}
		if n, err := t.world.Counter.CountBeside(&others[k]); err == nil {
			d.count(n)
		}
	}
}

func (d *Namespace) count(n world.Counts) { d.TCP, d.UDP, d.Sure = n.TCP, n.UDP, n.Sure }

// remembered leaves out what is about other sockets.
func (t *taker) remembered() {
	m := &t.rec.Memory
	there := make(map[collectors.Key]bool, len(t.rec.Sockets))
	for i := range t.rec.Sockets {
		there[collectors.KeyOf(&t.rec.Sockets[i].Socket)] = true
	}
	m.Seen = slices.DeleteFunc(slices.Clone(m.Seen), func(d memory.SeenDoc) bool { return !there[d.Key] })
	m.Holds = slices.DeleteFunc(slices.Clone(m.Holds), func(d memory.HoldDoc) bool { return !there[d.Key] })
	m.Told, m.Results = nil, nil
}
