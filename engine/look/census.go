package look

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// Census is how many sockets there are, and who listens. Nothing changes it once it is
// made.
type Census struct {
	At time.Time // when it began
	// Sockets counts by protocol and state. A protocol that the kernel does not show is
	// missing.
	Sockets map[collectors.Protocol]ByState
	// Listeners are the TCP listeners with what belongs to each, in no order.
	Listeners []Listening
	// Processes are those that listen, or that hold one of the sockets that the caller asked
	// about: each once, by their ids.
	Processes []collectors.Owner
	// Errors say what could not be looked at.
	Errors []error
}

// ByState counts sockets by their state in the kernel's numbering.
type ByState [16]int

// Total is the sum over all states.
func (b *ByState) Total() (n int) {
	for _, one := range b {
		n += one
	}
	return n
}

// Add adds other counts.
func (b *ByState) Add(other *ByState) {
	for s, n := range other {
		b[s] += n
	}
}

// Listening is an address where somebody listens, with the sockets that belong to it: those
// that listen, and the connections that came in there.
type Listening struct {
	Port    uint16
	Owners  []collectors.Owner // of the sockets that listen; empty if unknown
	ByState ByState

	inodes []uint32
}

// listenKey is an address where somebody listens, in one namespace.
type listenKey struct {
	family collectors.Family
	local  collectors.Addr
	device uint32
}

// tally is a census under way.
type tally struct {
	*Census
	*Picture
	looker *Looker
}

// Census counts the sockets of every protocol in every state, in the namespaces that a
// rules file means by these names, and finds the owners of the listeners. Of the sockets of
// also, given by inode, it finds the owners, too. It reads no tcp_info. The error says that
// it could not look at anything.
func (k *Looker) Census(ctx context.Context, netns []string, also map[uint32]bool) (*Census, error) {
	k.Dumps.Hangs.NoticeReturns()
	t := &tally{
		looker: k, Census: &Census{At: k.world.Now(), Sockets: map[collectors.Protocol]ByState{}},
		Picture: &Picture{Wanted: Wanted{Plan: &rules.Program{NetNS: netns}}},
	}
	if err := k.findNamespaces(ctx, t.Picture); err != nil {
		return nil, err
	}
	counts, errs := k.Dumps.count(t.Picture)
	failed := 0
	for i, ns := range t.Namespaces {
		err := errs[i]
		if ns.IsOwn() || !errors.Is(err, world.ErrNoEntry) && !errors.Is(err, fs.ErrNotExist) {
			err = t.namespace(ctx, ns, counts[i])
		}
		if ctx.Err() != nil {
			return nil, fmt.Errorf("count sockets: %w", context.Cause(ctx))
		}
		if err != nil {
			failed++
			t.NotLookedInto(ns, err)
		}
	}
	if failed > 0 && failed == len(t.Namespaces) {
		return nil, fmt.Errorf("%w: %w", ErrNothingSeen, errors.Join(t.Picture.Errors...))
	}
	if err := t.findOwners(ctx, also); err != nil {
		t.fail(err)
	}
	t.Census.Errors = t.Picture.Errors
	return t.Census, nil
}

// namespace counts the sockets of one namespace.
func (t *tally) namespace(ctx context.Context, ns *Namespace, counts world.Counts) error {
	var errs error
	for _, protocol := range collectors.Protocols() {
		q := collectors.Query{Protocols: []collectors.Protocol{protocol}, States: collectors.AllStates}
		if !ns.IsOwn() && empty(counts, &q) {
			t.add(protocol, &ByState{})
			continue
		}
		listeners := map[uint16]map[listenKey]*Listening{}
		if protocol == collectors.TCP {
			t.looker.loadListeners(ctx, t.Picture, ns)
			listeners = byPort(ns)
		}
		found, err := t.count(ctx, ns, q, listeners)
		switch {
		case protocol == collectors.MPTCP && errors.Is(err, collectors.ErrNotSupported):
			continue // most kernels show none, and few programs have any
		case err != nil:
			errs = errors.Join(errs, err)
			continue
		}
		t.add(protocol, found)
		for _, there := range listeners {
			for _, l := range there {
				t.Listeners = append(t.Listeners, *l)
			}
		}
	}
	return errs
}

func (t *tally) add(protocol collectors.Protocol, found *ByState) {
	sum := t.Sockets[protocol]
	sum.Add(found)
	t.Sockets[protocol] = sum
}

// byPort returns the listeners of a namespace. Those that share an address by SO_REUSEPORT
// are one.
func byPort(ns *Namespace) map[uint16]map[listenKey]*Listening {
	all := map[uint16]map[listenKey]*Listening{}
	for i := range ns.listeners {
		l := &ns.listeners[i]
		if all[l.LocalPort] == nil {
			all[l.LocalPort] = map[listenKey]*Listening{}
		}
		key := listenKey{l.Family, l.Local, l.IfIndex}
		one := all[l.LocalPort][key]
		if one == nil {
			one = &Listening{Port: l.LocalPort}
			all[l.LocalPort][key] = one
		}
		one.inodes = append(one.inodes, l.Inode)
	}
	return all
}

// count counts the sockets of a protocol by the first source that shows them, and those of
// each listener.
func (t *tally) count(ctx context.Context, ns *Namespace, q collectors.Query, listeners map[uint16]map[listenKey]*Listening) (*ByState, error) {
	var refused error
	for _, source := range t.looker.Dumps.sources {
		hangs := t.looker.Dumps.Hangs
		if err := hangs.shut(ns); err != nil && source.Actionable {
			refused = errors.Join(refused, err)
			continue
		}
		found, err := t.stream(ctx, ns, source, q, listeners)
		if err == nil {
			return found, nil
		}
		refused = errors.Join(refused, err)
		for _, there := range listeners {
			for _, l := range there {
				l.ByState = ByState{}
			}
		}
		hung := hangs.noteHung(ctx, ns, []collectors.Query{q}, []error{err})
		if !hung && !errors.Is(err, collectors.ErrNotPermitted) && !errors.Is(err, collectors.ErrNotSupported) {
			return nil, refused
		}
	}
	return nil, refused
}

func (t *tally) stream(
	ctx context.Context, ns *Namespace, source collectors.Plugin, q collectors.Query, listeners map[uint16]map[listenKey]*Listening,
) (*ByState, error) {
	found := &ByState{}
	for s, err := range t.looker.Dumps.collectPast(ctx, ns, source, q) {
		if err != nil {
			return nil, err
		}
		found[s.State&15]++
		if there := listeners[s.LocalPort]; there != nil {
			if l := listenerOf(ns, there, s); l != nil {
				l.ByState[s.State&15]++
			}
		}
	}
	return found, nil
}

// listenerOf returns where a connection came in: of the listeners that fit, the one on its
// very address and device, as the kernel prefers that. It is nil if none fits.
func listenerOf(ns *Namespace, there map[listenKey]*Listening, s *collectors.Socket) *Listening {
	for _, key := range []listenKey{{s.Family, s.Local, s.IfIndex}, {s.Family, s.Local, 0}} {
		if l := there[key]; l != nil {
			return l
		}
	}
	if s.State == collectors.Listen {
		return nil // it began to listen after we had looked for listeners
	}
	for i := range ns.listeners {
		l := &ns.listeners[i]
		if l.LocalPort == s.LocalPort && listensFor(l, s) && onDevice(l, s, ns) {
			return there[listenKey{l.Family, l.Local, l.IfIndex}]
		}
	}
	return nil
}

// findOwners finds out who listens, and who holds the sockets of also.
func (t *tally) findOwners(ctx context.Context, also map[uint32]bool) error {
	inodes := maps.Clone(also)
	if inodes == nil {
		inodes = map[uint32]bool{}
	}
	for i := range t.Listeners {
		for _, inode := range t.Listeners[i].inodes {
			inodes[inode] = true
		}
	}
	holders, err := t.looker.world.Owners.Holders(ctx, inodes)
	if err != nil {
		return fmt.Errorf("owners of listeners: %w", err)
	}
	known := map[int]*collectors.Owner{}
	groups := map[string]bool{}
	for _, owners := range holders.ByInode {
		for i := range owners {
			if o := &owners[i]; known[o.PID] == nil {
				known[o.PID] = o
				if o.Container != "" {
					groups[o.Cgroup] = true
				}
			}
		}
	}
	answers := t.looker.world.Containers.Lookup(ctx, slices.Sorted(maps.Keys(groups)))
	for _, pid := range slices.Sorted(maps.Keys(known)) {
		o := known[pid]
		if a, ok := answers[o.Cgroup]; ok && o.Container != "" {
			name(o, &a)
		}
		t.Processes = append(t.Processes, *o)
	}
	for i := range t.Listeners {
		t.Listeners[i].Owners = listenedBy(&t.Listeners[i], &holders, known)
	}
	return nil
}

// listenedBy returns the owners of the sockets that listen at one address, each once.
func listenedBy(l *Listening, holders *world.Ownership, known map[int]*collectors.Owner) (all []collectors.Owner) {
	for _, inode := range l.inodes {
		for _, o := range holders.ByInode[inode] {
			if !slices.ContainsFunc(all, func(other collectors.Owner) bool { return other.PID == o.PID }) {
				all = append(all, *known[o.PID])
			}
		}
	}
	slices.SortFunc(all, func(a, b collectors.Owner) int { return a.PID - b.PID })
	return all
}
