package engine

import (
	"math"

	"sockwarden/collectors"
)

const (
	// jiffy is the coarsest grain of the kernel's time stamps (HZ=100), in
	// seconds: a difference of two of them can be off by one of it.
	jiffy = 0.010
	// timeWait is how long TIME_WAIT lasts (TCP_TIMEWAIT_LEN), in seconds,
	// whatever tcp_fin_timeout says.
	timeWait = 60.0
	// resourceProbe is when a segment that could not be sent for want of local
	// resources is tried again (TCP_RESOURCE_PROBE_INTERVAL), in seconds.
	resourceProbe = 0.5
)

// evidence bounds the time that s has been in its state by what one record
// shows, measured on Linux 6.18. Each bound is proven: where something could
// spoil it, there is none.
func evidence(s *collectors.Socket) collectors.Age {
	if s.Protocol != collectors.TCP {
		return collectors.NoAge()
	}
	ms := func(v uint32) float64 { return float64(v) / 1000 }
	i := &s.Info
	stamps := s.Known.Has(collectors.FieldAckIdle)
	busy := float64(i.BusyTime) / 1e6
	switch s.State {
	case collectors.Established:
		if stamps {
			// All three stamps start at the handshake.
			return atLeast(ms(max(i.LastDataSent, i.LastDataRecv, i.LastAckRecv)), collectors.AgeTCPInfo)
		}
	case collectors.CloseWait:
		if stamps {
			// The FIN carried an ACK and so renewed the ACK's stamp, but not that of data.
			return atMost(atLeast(ms(i.LastAckRecv), collectors.AgeTCPInfo), true, ms(i.LastDataRecv))
		}
	case collectors.FinWait2:
		if stamps {
			// The ACK of our FIN began the state; our last data was sent before.
			return atMost(atLeast(ms(i.LastAckRecv), collectors.AgeTCPInfo), true, ms(i.LastDataSent))
		}
		// A mini-socket's timer starts from tcp_fin_timeout or TCP_LINGER2, and the latter does not show.
	case collectors.TimeWait:
		if s.Timer == collectors.TimerTimeWait {
			// A retransmitted FIN starts the timer again: still a lower bound.
			return atLeast(timeWait-ms(s.TimerExpires), collectors.AgeTimer)
		}
	case collectors.FinWait1:
		return atMost(retransmitting(s), busy > 0, busy)
	case collectors.LastAck:
		return atMost(atMost(retransmitting(s), busy > 0, busy), stamps, ms(i.LastDataRecv))
	case collectors.Closing:
		if stamps {
			return atMost(atLeast(ms(i.LastAckRecv), collectors.AgeTCPInfo), busy > 0, busy)
		}
	case collectors.SynSent:
		return retransmitting(s)
	case collectors.SynRecv, collectors.Close, collectors.Listen, collectors.BoundInactive:
	}
	return collectors.NoAge()
}

// retransmitting adds up the timeouts of a SYN or FIN that went unanswered.
//
// Sound only if nothing else was ever waited for: one byte is unacknowledged
// (the SYN or FIN itself), and so all timeouts since the last progress were its
// own. Each of the n that doubled the timeout took at least half of what it is
// after it, so that they took at least rto - rto/2^n. What the running timer has
// used up does not count: TCP_USER_TIMEOUT and loss probes shorten it without
// showing. Others do not double it: SYNs are first repeated at the initial
// timeout (tcp_syn_linear_timeouts, Linux 6.5), and what this host could not
// even send is tried again sooner.
func retransmitting(s *collectors.Socket) collectors.Age {
	i := &s.Info
	n := min(i.Retransmits, i.Backoff)
	if !s.Known.Has(collectors.FieldRTO) || s.SendQueue != 1 || i.Retransmits == 0 || i.Backoff > 30 {
		return collectors.NoAge()
	}
	rto := float64(i.RTO) / 1e6
	first := rto / float64(uint32(1)<<n)
	age := rto - first
	if more := float64(i.Retransmits - n); s.State == collectors.SynSent && more > 0 {
		again := min(first, resourceProbe)
		if age += more * again; n == 0 {
			age += first - again // the timer began with it
		}
	}
	return atLeast(age, collectors.AgeTimer)
}

func atLeast(seconds float64, source collectors.AgeSource) collectors.Age {
	if seconds -= jiffy; seconds <= 0 {
		return collectors.NoAge()
	}
	return collectors.Age{Min: math.Floor(seconds*1000) / 1000, Source: source}
}

// atMost adds an upper bound, the tighter of two, if it is known.
func atMost(a collectors.Age, known bool, seconds float64) collectors.Age {
	if seconds += jiffy; known && (!a.Bounded || seconds < a.Max) {
		a.Max, a.Bounded = max(math.Ceil(seconds*1000)/1000, a.Min), true
	}
	return a
}
