package look

import (
	"math"

	"sockwarden/collectors"
	"sockwarden/engine/memory"
)

const (
	// Slack is how far off two stamps can be: one jiffy, and as many more as the tick that
	// counts them can be late. A busy hypervisor withholds the processor from it for 40 ms
	// and more, and then jiffies jump: a stamp set just before looks older than it is.
	Slack = 10 * memory.Jiffy
	// timeWait is how long TIME_WAIT lasts (TCP_TIMEWAIT_LEN), in seconds,
	// whatever tcp_fin_timeout says.
	timeWait = 60.0
	// firstSYN is the least first timeout of a SYN (TCP_TIMEOUT_INIT), in seconds.
	firstSYN = 1.0
)

// Evidence bounds the time that s has been in its state from one record, as measured on
// Linux 6.18. Each bound is proven; where something could spoil a bound, there is none.
// docs/ages.md says what a peer can forge about its own connection.
func Evidence(s *collectors.Socket) collectors.Age {
	if s.Protocol != collectors.TCP {
		return collectors.NoAge()
	}
	i := &s.Info
	busy := float64(i.BusyTime) / 1e6
	switch s.State {
	case collectors.Established:
		return established(s)
	case collectors.CloseWait:
		// The FIN carried an ACK, which renewed the stamp of ACKs but not that of data.
		return atMost(sinceAck(s), s.Known.Has(collectors.FieldAckIdle), collectors.Seconds(i.LastDataRecv))
	case collectors.FinWait2:
		// The ACK of our FIN began the state; we sent our last data before it. A
		// mini-socket has no stamps, and its timer starts from tcp_fin_timeout or from
		// TCP_LINGER2, which does not show.
		return atMost(sinceAck(s), s.Known.Has(collectors.FieldAckIdle), collectors.Seconds(i.LastDataSent))
	case collectors.TimeWait:
		if s.Timer == collectors.TimerTimeWait {
			// A retransmitted FIN starts the timer again: still a lower bound.
			return atLeast(timeWait-collectors.Seconds(s.TimerExpires), collectors.AgeTimer)
		}
	case collectors.FinWait1:
		return atMost(unanswered(s), busy > 0, busy)
	case collectors.LastAck:
		return atMost(atMost(unanswered(s), busy > 0, busy), s.Known.Has(collectors.FieldAckIdle), collectors.Seconds(i.LastDataRecv))
	case collectors.Closing:
		return atMost(sinceAck(s), busy > 0, busy)
	case collectors.SynSent:
		if s.Known.Has(collectors.FieldRTO) {
			return atMost(unanswered(s), true, connecting(i))
		}
	case collectors.SynRecv, collectors.Close, collectors.Listen, collectors.BoundInactive:
	}
	return collectors.NoAge()
}

// established is the oldest stamp: all start at the handshake. That of received
// data may be older in a Fast Open server, where the SYN brought data and the
// handshake ended later.
func established(s *collectors.Socket) collectors.Age {
	if !s.Known.Has(collectors.FieldAckIdle) {
		return collectors.NoAge()
	}
	i := &s.Info
	oldest := max(i.LastDataSent, i.LastAckRecv)
	if collectors.Received(s) && i.Options&collectors.OptSynData == 0 {
		oldest = max(oldest, i.LastDataRecv)
	}
	return atLeast(collectors.Seconds(oldest), collectors.AgeTCPInfo)
}

func sinceAck(s *collectors.Socket) collectors.Age {
	if !s.Known.Has(collectors.FieldAckIdle) {
		return collectors.NoAge()
	}
	return atLeast(collectors.Seconds(s.Info.LastAckRecv), collectors.AgeTCPInfo)
}

// unanswered is the least time that a SYN or FIN has waited for its ACK.
//
// Its timeouts do not add up to that time: TCP_USER_TIMEOUT shortens each of them
// without showing, yet they still double. Since Linux 6.7 the kernel keeps the time since
// the first timeout, summed over all recoveries of the connection. The sum is about this
// SYN or FIN alone if nothing else was ever repeated: one byte is unacknowledged (the SYN
// or FIN itself), and all timeouts came since the last progress.
//
// The time with unacknowledged data is no lower bound: it covers all connections that the
// descriptor ever had.
func unanswered(s *collectors.Socket) collectors.Age {
	i := &s.Info
	if !s.Known.Has(collectors.FieldRTO) || s.SendQueue != 1 || !ownTimeouts(i) {
		return collectors.NoAge()
	}
	if s.State != collectors.SynSent && !s.Known.Has(collectors.FieldAckIdle) {
		// Closed before the handshake was over: they may be those of the SYN with the ACK.
		return collectors.NoAge()
	}
	return atLeast(collectors.Seconds(i.RTOTime), collectors.AgeTimer)
}

// ownTimeouts reports whether all timeouts that the connection ever had came
// since the last progress.
func ownTimeouts(i *collectors.TCPInfo) bool {
	return i.Len >= collectors.InfoRTOTime && i.Retransmits > 0 && i.TotalRTO == uint16(i.Retransmits)
}

// connecting is the longest time that a SYN can have waited, in seconds. Timers can be
// late by an eighth (kernel/time/timer.c), and by more on a busy machine.
func connecting(i *collectors.TCPInfo) float64 {
	const late, load = 1.125, 0.1
	rto := float64(i.RTO) / 1e6
	first := max(firstSYN, rto/float64(uint64(1)<<min(i.Backoff, 32)))*late + load
	switch {
	case i.Retransmits == 0:
		return first
	case ownTimeouts(i):
		return collectors.Seconds(i.RTOTime) + first
	}
	return (float64(i.Retransmits)+1)*max(firstSYN, rto)*late + load
}

func atLeast(seconds float64, source collectors.AgeSource) collectors.Age {
	ms := math.Floor((seconds - Slack) * 1000)
	if ms <= 0 {
		return collectors.NoAge()
	}
	return collectors.Age{Min: ms / 1000, Source: source}
}

// atMost adds an upper bound if it is known, and keeps the tighter of two. A lower bound
// above it proves that one of them is wrong; it drops the lower one, because an age must
// never exceed the truth.
func atMost(a collectors.Age, known bool, seconds float64) collectors.Age {
	if seconds += Slack; known && (!a.Bounded || seconds < a.Max) {
		a.Max, a.Bounded = math.Ceil(seconds*1000)/1000, true
	}
	if a.Bounded && a.Min > a.Max-Slack { // more than the two can be off by
		a.Min, a.Source = 0, collectors.AgeNone
	}
	return a
}
