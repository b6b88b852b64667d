package look

import (
	"slices"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/world"
)

// forListener reports whether an action is for the process of a listener: because of the
// listener itself, or of a connection that waits for it to accept.
func forListener(c *Candidate, b *actions.Bound) bool {
	waits := c.Socket.Protocol.Connects() && c.Socket.State == collectors.Listen || collectors.Unaccepted(&c.Socket)
	return waits && b.Allowed.Has(actions.AllowListener)
}

// Processes returns the processes that an action is for, each once: those that have the
// socket or, if it waits to be accepted and the rung opts in, those that listen where it
// waits.
func (c *Candidate) Processes(b *actions.Bound) []collectors.Owner {
	if !collectors.Unaccepted(&c.Socket) || !b.Allowed.Has(actions.AllowListener) {
		return c.Facts.Owners
	}
	return listening(c.Listeners)
}

// listening returns the processes that have any of the listeners.
func listening(all []actions.Listener) (owners []collectors.Owner) {
	for i := range all {
		for _, o := range all[i].Owners {
			if !slices.ContainsFunc(owners, func(known collectors.Owner) bool { return sameProcess(&known, &o) }) {
				owners = append(owners, o)
			}
		}
	}
	return owners
}

func sameProcess(a, b *collectors.Owner) bool { return a.PID == b.PID && a.StartTime == b.StartTime }

// Targets names the processes or units that an action is for, each once.
func (c *Candidate) Targets(b *actions.Bound) []string { return targetsOf(c.Processes(b), b.Plugin) }

func targetsOf(owners []collectors.Owner, plugin *actions.Plugin) (keys []string) {
	for i := range owners {
		if key := TargetKey(&owners[i], plugin); !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

// WhoseQueue reports whether all listeners that the socket may be waiting for lead to the
// same targets. If not, nobody can tell whose queue it is in.
func (c *Candidate) WhoseQueue(b *actions.Bound) bool {
	var first []string
	for i := range c.Listeners {
		keys := targetsOf(c.Listeners[i].Owners, b.Plugin)
		slices.Sort(keys)
		if i > 0 && !slices.Equal(keys, first) {
			return false
		}
		first = keys
	}
	return true
}

// mayQueue reports whether connections can be waiting for a listener: its queue is not
// empty. A connection that still waits now has been in its queue all the time.
func mayQueue(l *collectors.Socket) bool {
	return l.RecvQueue > 0 || !l.Known.Has(collectors.FieldRecvQueue)
}

// Glimpse returns the candidate with its known owners, and the known processes that listen
// for it, as they are right now.
func (c *Candidate) Glimpse(g world.Glance) *Candidate {
	now := c.Clone()
	if len(now.Facts.Owners) > 0 {
		owners, unseen := g.Holders(now.Facts.Owners, now.Socket.Inode)
		now.holders(owners, unseen > 0)
	}
	now.Listeners = slices.Clone(c.Listeners)
	for i := range now.Listeners {
		l := &now.Listeners[i]
		owners, unseen := g.Holders(l.Owners, l.Socket.Inode)
		keepNames(owners, l.Owners)
		now.listenersUnseen = now.listenersUnseen || unseen > 0 || len(owners) == 0
		l.Owners = owners
	}
	return now
}

// NewProcess returns a process that has the socket now and did not before or, if the rung
// opts in, listens now where it waits and did not before; nil if there is none.
func (c *Candidate) NewProcess(now *Candidate, b *actions.Bound) *collectors.Owner {
	if o := newAmong(c.Facts.Owners, now.Facts.Owners); o != nil || !forListener(c, b) {
		return o
	}
	return newAmong(listening(c.Listeners), listening(now.Listeners))
}

func newAmong(was, now []collectors.Owner) *collectors.Owner {
	for i := range now {
		if !slices.ContainsFunc(was, func(w collectors.Owner) bool { return sameProcess(&w, &now[i]) }) {
			return &now[i]
		}
	}
	return nil
}
