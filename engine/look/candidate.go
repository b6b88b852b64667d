package look

import (
	"slices"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/stuck"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// Namespace is one network namespace during one cycle.
type Namespace struct {
	world.Namespace
	byName    bool                // the user asked for it by name
	asked     bool                // we have looked for its listeners
	listening bool                // listeners are known
	listeners []collectors.Socket // all of them
	hasNames  bool                // Interfaces was filled
	// acceptsVRF says that a listener on all devices takes what comes in through any VRF.
	acceptsVRF bool
	addresses  addresses
}

// Candidate is a socket that some rule matches or may match, and what was found
// out about it.
type Candidate struct {
	Socket collectors.Socket
	Facts  collectors.Facts

	NS   *Namespace
	Host string
	Hits []int // rules of the program, by index

	Sightings
	// OwnersAt is when everybody was asked last who holds it.
	OwnersAt time.Time
	// Hidden is why processes that we cannot see may hold it, "" if we know of none.
	Hidden string
	// Listeners are, for a socket that waits to be accepted, the listeners that it may be
	// waiting for: all that fit and have connections in their queues.
	Listeners []actions.Listener
	// listenersUnseen says that some of its listeners have no known owner.
	listenersUnseen bool
	blindness
	// younger says that a younger generation of rules may match it.
	younger bool
}

// blindness says that we cannot read the tcp_info of a socket, because the kernel hangs;
// call is the look-up that found this out, until it is noted.
type blindness struct {
	Blind bool
	call  *stuck.Call
}

// Sightings say when a socket was seen, in seconds of CLOCK_MONOTONIC.
type Sightings struct {
	Since     float64 // first in its state, 0 if it is not remembered
	SeenAgain float64 // when the look began that came after the cycle's own, 0 for none
}

// Entered is since when the socket has provably been in its state, in seconds of
// CLOCK_MONOTONIC: when it entered that, if an event has told, else when it was first seen
// there. Now is when its age was looked at. Other evidence, as the time without data, is of
// no use to compare sockets by.
func (c *Candidate) Entered(now float64) float64 {
	if c.Facts.Age.Source == collectors.AgeEvent {
		return now - c.Facts.Age.Min
	}
	return c.Since
}

// NewCandidate makes one of what was found out about a socket elsewhere, for whoever
// shows it: no cycle takes it.
func NewCandidate(s *collectors.Socket, ns *collectors.Namespace, f *collectors.Facts) *Candidate {
	return &Candidate{Socket: *s, Facts: *f, NS: &Namespace{Namespace: world.Namespace{Namespace: *ns}}}
}

// Record returns what a condition reads, for the first owner.
func (c *Candidate) Record() collectors.Record {
	var o *collectors.Owner
	if len(c.Facts.Owners) > 0 {
		o = &c.Facts.Owners[0]
	}
	return c.record(o)
}

// Namespace returns the name of the socket's namespace.
func (c *Candidate) Namespace() string { return c.NS.Name }

func (c *Candidate) record(o *collectors.Owner) collectors.Record {
	return collectors.NewRecord(&c.Socket, &c.NS.Namespace.Namespace, &c.Facts, o, c.Host)
}

// Eval returns the value of a condition for a socket with several owners: true
// if it is for each of them, false if it is for any.
func (c *Candidate) Eval(cond *rules.Cond) rules.Tri { return c.EvalAfter(cond, "") }

// EvalAfter is Eval for a condition that can read the result of the previous rung.
func (c *Candidate) EvalAfter(cond *rules.Cond, result actions.Result) rules.Tri {
	if len(c.Facts.Owners) < 2 {
		r := c.Record()
		r.Result = string(result)
		return cond.Eval(&r)
	}
	all := rules.True
	for i := range c.Facts.Owners {
		r := c.record(&c.Facts.Owners[i])
		r.Result = string(result)
		switch cond.Eval(&r) {
		case rules.False:
			return rules.False
		case rules.Unknown:
			all = rules.Unknown
		case rules.True:
		}
	}
	return all
}

// RecordOf returns what a condition reads for the owner at that place among the owners.
func (c *Candidate) RecordOf(owner int) collectors.Record {
	if owner >= len(c.Facts.Owners) {
		return c.Record()
	}
	return c.record(&c.Facts.Owners[owner])
}

// Decider returns the place of the owner by whom a condition has the value of Eval: the
// first for whom it is false, else unknown, else the first. It is 0 without owners.
func (c *Candidate) Decider(cond *rules.Cond) int {
	values := make([]rules.Tri, len(c.Facts.Owners))
	for i := range values {
		r := c.RecordOf(i)
		values[i] = cond.Eval(&r)
	}
	for _, v := range []rules.Tri{rules.False, rules.Unknown} {
		if i := slices.Index(values, v); i >= 0 {
			return i
		}
	}
	return 0
}

// Spares reports whether an exempting condition spares the socket. It does unless it is
// false for every owner.
func (c *Candidate) Spares(cond *rules.Cond) (spared bool, value rules.Tri) {
	if len(c.Facts.Owners) < 2 {
		r := c.Record()
		v := cond.Eval(&r)
		return v != rules.False, v
	}
	for i := range c.Facts.Owners {
		r := c.record(&c.Facts.Owners[i])
		if v := cond.Eval(&r); v != rules.False {
			return true, v
		}
	}
	return false, rules.False
}

// Exempt returns what spares the socket at that time: the end of the rule's windows, or an
// exception, the rule's own or an entry of protect; "" if nothing does.
func (c *Candidate) Exempt(p *rules.Program, rule *rules.Rule, now time.Time) string {
	if !rule.InWindow(now) {
		return "the end of the window of " + rule.Name
	}
	if rule.Unless != nil {
		if spared, v := c.Spares(rule.Unless); spared {
			return "unless of " + rule.Name + NotKnown(v)
		}
	}
	for _, pr := range p.Protect {
		if !pr.InForce(now) {
			continue
		}
		if spared, v := c.Spares(pr.When); spared {
			return "protect " + pr.Name + NotKnown(v)
		}
	}
	return ""
}

// OwnerHidden reports whether some process has the socket but we cannot see which.
func (c *Candidate) OwnerHidden() bool { return c.Socket.Inode != 0 && len(c.Facts.Owners) == 0 }

// Seal copies the candidate for an action.
func (c *Candidate) Seal() actions.Sealed {
	return actions.Sealed{Socket: c.Socket, Namespace: c.NS.Namespace.Namespace, Facts: c.Facts, Open: c.NS.Open, Listeners: c.Listeners}
}

// Clone copies the candidate so that it can be looked at again.
func (c *Candidate) Clone() *Candidate {
	d := *c
	return &d
}

// holders notes which of the known holders still hold the socket, and whether there are
// some for which we can no longer tell.
func (c *Candidate) holders(owners []collectors.Owner, unseen bool) {
	f := &c.Facts
	keepNames(owners, f.Owners)
	f.Owners, f.OthersHidden = owners, f.OthersHidden || unseen
	if len(owners) == 0 || f.OthersHidden {
		f.Known.Remove(collectors.Fields(collectors.FieldOwners))
	}
}

// forgetOwners forgets who holds the socket and its listener.
func (c *Candidate) forgetOwners() {
	f := &c.Facts
	c.Hidden, c.listenersUnseen = "", false
	f.Owners, f.OthersHidden, f.Complete = nil, false, false
	f.ListenerOwner, f.Peers, c.Listeners = nil, nil, nil
	f.Published, f.Cgroup = "", ""
	f.Known.Remove(collectors.PeerFields().Or(collectors.Fields(collectors.FieldPublished)))
	f.Known.Remove(collectors.Fields(collectors.FieldOwners, collectors.FieldListenerProcess, collectors.FieldCgroup))
}

// SetAge sets the age, and which of the age fields are known.
func (c *Candidate) SetAge(a collectors.Age) {
	f := &c.Facts
	f.Age = a
	f.Known.Remove(collectors.AgeFields())
	f.Known.Add(collectors.Fields(collectors.FieldAgeSource))
	if a.Source != collectors.AgeNone {
		f.Known.Add(collectors.Fields(collectors.FieldAge))
	}
	if a.Bounded {
		f.Known.Add(collectors.Fields(collectors.FieldAgeMax))
	}
}

// NoSocket reports whether the candidate stands for no socket at all: a group that spans
// the host can be empty.
func (c *Candidate) NoSocket() bool { return c.Socket.Protocol == 0 }

// NotKnown ends a reason that rests on an unknown value.
func NotKnown(v rules.Tri) string {
	if v == rules.Unknown {
		return " (unknown)"
	}
	return ""
}
