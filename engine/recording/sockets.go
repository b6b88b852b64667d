package recording

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine/world"
)

type sockets struct{ w *World }

// errNotRecorded says that a recording does not tell.
var errNotRecorded = errors.New("it is not in the recording")

// place is the place of a namespace in the recording, -1 if it is not there.
func (w *World) place(ns *world.Namespace) int {
	for i := range w.rec.Namespaces {
		if n := &w.rec.Namespaces[i]; n.Inode == ns.Inode && n.Recorded {
			return i
		}
	}
	return -1
}

// find returns the socket of a record, nil if it is not there.
func (w *World) find(s *collectors.Socket) *Socket {
	for place := range w.rec.Namespaces {
		one := w.index.byCookie[socketKey{place, s.Cookie}]
		if one != nil && collectors.KeyOf(&one.Socket) == collectors.KeyOf(s) {
			return one
		}
	}
	return nil
}

// Collect shows the sockets of a namespace, with no more fields than a kernel would have
// shown for the question.
func (s sockets) Collect(_ context.Context, ns *world.Namespace, _ collectors.Plugin, q collectors.Query) iter.Seq2[*collectors.Socket, error] {
	return func(yield func(*collectors.Socket, error) bool) {
		defer s.w.clock.read()
		place := s.w.place(ns)
		if place < 0 {
			yield(nil, fmt.Errorf("network namespace %s: %w", ns.Name, errNotRecorded))
			return
		}
		later := s.w.clock.later()
		for _, one := range s.w.index.byPlace[place] {
			k := collectors.KeyOf(&one.Socket)
			if one.Beside && !helps(&q) || !q.Covers(&k) {
				continue
			}
			now := one.at(later)
			withhold(&now, q.Fields)
			if !yield(&now, nil) {
				return
			}
		}
	}
}

// helps reports whether a question is about what explains other sockets: such questions
// ask for no fields.
func helps(q *collectors.Query) bool { return q.Fields.Empty() }

// withhold takes away what a kernel shows only on demand.
func withhold(s *collectors.Socket, wanted collectors.FieldSet) {
	if !wanted.Meets(collectors.InfoFields()) {
		s.Info, s.Subflow = collectors.TCPInfo{}, false
		if s.Protocol == collectors.TCP || s.Protocol == collectors.MPTCP {
			s.Token = 0
		}
		s.Known.Remove(collectors.InfoFields())
	}
	if !wanted.Meets(collectors.CongestionFields()) {
		s.Congestion = collectors.CongestionName{}
		s.Known.Remove(collectors.CongestionFields())
	}
	if !wanted.Meets(collectors.MemoryFields()) {
		s.SendBuffer, s.Drops = 0, 0
		s.Known.Remove(collectors.MemoryFields())
	}
}

// LookUp finds sockets by their cookies.
func (s sockets) LookUp(_ context.Context, ns *world.Namespace, socks []*collectors.Socket) ([]collectors.Socket, []error, error) {
	place := s.w.place(ns)
	if place < 0 {
		return nil, nil, errNotRecorded
	}
	found, errs := make([]collectors.Socket, len(socks)), make([]error, len(socks))
	later := s.w.clock.later()
	for i, want := range socks {
		one := s.w.index.byCookie[socketKey{place, want.Cookie}]
		if one == nil || one.Protocol != want.Protocol {
			errs[i] = collectors.ErrGone
			continue
		}
		found[i] = one.at(later)
	}
	return found, errs, nil
}

// OtherEnds finds the other ends of connections. Where not everything was recorded, one
// that is not there may have been.
func (s sockets) OtherEnds(_ context.Context, ns *world.Namespace, socks []*collectors.Socket) ([]collectors.Socket, []error, error) {
	place := s.w.place(ns)
	if place < 0 {
		return nil, nil, errNotRecorded
	}
	found, errs := make([]collectors.Socket, len(socks)), make([]error, len(socks))
	for i, want := range socks {
		ends := s.w.index.byEnds[tuple{place, want.Remote, want.Local, want.RemotePort, want.LocalPort}]
		switch {
		case len(ends) > 0 && ends[0].IfIndex == 0:
			found[i] = ends[0].Socket
		case s.w.rec.Partial:
			errs[i] = errNotRecorded
		default:
			errs[i] = collectors.ErrGone // bound to a device, it answers no such look-up
		}
	}
	return found, errs, nil
}

// at is the record of a socket that has been left alone for some time since: its stamps and
// timers have gone on.
func (s *Socket) at(later time.Duration) collectors.Socket {
	now := s.Socket
	ms := uint32(later.Milliseconds())
	if ms == 0 {
		return now
	}
	now.TimerExpires -= min(ms, now.TimerExpires)
	i := &now.Info
	if i.Len == 0 {
		return now
	}
	i.LastDataSent, i.LastDataRecv, i.LastAckRecv = i.LastDataSent+ms, i.LastDataRecv+ms, i.LastAckRecv+ms
	if i.Unacked > 0 || i.NotSent > 0 {
		i.BusyTime += uint64(ms) * 1000
	}
	if i.Retransmits > 0 && i.Len >= collectors.InfoRTOTime {
		i.RTOTime += ms
	}
	return now
}
