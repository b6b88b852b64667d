package memory

import (
	"math"

	"sockwarden/collectors"
)

// stall is what looks have proven of how long the peer of a connection has acknowledged
// nothing although something waits for it, in seconds of CLOCK_MONOTONIC; zero means
// nothing.
//
// Whatever is sent waits until the peer acknowledges it, and bytes_acked counts that: if it
// is the same in two looks, and something waited at the first of them, that still waits and
// nothing was acknowledged in between.
type stall struct {
	since float64 // when the look ended that first saw it wait, with as much acknowledged as now
	moved float64 // after this something was acknowledged, or began to wait
	// sure is when the look ended since which it is proven to be this connection; zero for
	// all the time. Until segments go both ways again, nothing before it counts.
	sure float64
}

// Waits reports whether a socket has something that the peer has not acknowledged. The
// kernel takes the lock of the socket for struct tcp_info, so that this and bytes_acked are
// of one moment; its send queue is of a moment before.
func Waits(s *collectors.Socket) bool {
	i := &s.Info
	return canWait.Has(s.State) && i.Len >= collectors.InfoBytesAcked && (i.Unacked > 0 || i.NotSent > 0)
}

// canWait are the states in which data, or a FIN behind it, waits to be acknowledged.
const canWait = collectors.StateMask(1<<collectors.Established | 1<<collectors.CloseWait |
	1<<collectors.FinWait1 | 1<<collectors.Closing | 1<<collectors.LastAck)

// newStall is what a first look proves that ended now.
func newStall(mk *Mark, now float64) (s stall) {
	if mk.Waits {
		s.since = now
	}
	return s
}

// follow goes on with what a look that ended now says; the look before began at looked.
func (s *stall) follow(before, mk *Mark, looked, now float64) {
	same := before.continuedBy(mk)
	hidden := same && before.hides(mk, looked) // perhaps it is another connection
	switch {
	case !mk.Waits:
		*s = stall{}
	case !before.Known:
		*s = stall{since: now}
	case same && before.Waits && before.Acked == mk.Acked && s.since > 0: // it goes on
		switch {
		case hidden && before.bare():
			s.since, s.sure = now, 0 // and what bounds it still does
		case hidden:
			s.sure = now
		case before.grew(mk):
			s.sure = 0
		}
	case same && before.Waits && before.Acked == mk.Acked: // of a file by an older version
		*s = stall{since: now}
	default:
		*s = stall{since: now, moved: looked}
	}
}

// Stalled adds to what a record itself proves of how long its peer has acknowledged nothing
// what looks have proven before, Observe or Recall having had the record of the look from
// began to now.
func (m *Memory) Stalled(key collectors.Key, shown collectors.Age, began, now float64) collectors.Age {
	s, ok := m.Seen[key]
	if !ok || s.stall == (stall{}) || s.Last != now {
		return shown
	}
	if longest := now - s.stall.moved; s.stall.moved > 0 && (!shown.Bounded || longest < shown.Max) {
		shown.Max, shown.Bounded = longest, true
	}
	if observed := began - max(s.stall.since, s.stall.sure); s.stall.since > 0 && observed > shown.Min+Jiffy {
		shown.Min, shown.Source = math.Floor(observed*1000)/1000, collectors.AgeObserved
	}
	return shown
}

// stall is what the file says, as far as it can be.
func (d *SeenDoc) stall() stall {
	if d.Stalled < 0 || d.Stalled > d.Last || d.Moved < 0 || d.Moved > d.Last || !d.Mark.Waits {
		return stall{}
	}
	return stall{d.Stalled, d.Moved, max(0, d.Sure)}
}
