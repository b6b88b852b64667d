package memory

import (
	"math"

	"sockwarden/collectors"
)

// Jiffy is the coarsest grain of the kernel's time stamps (HZ=100), in seconds: a
// difference of two of them can be off by one of it.
const Jiffy = 0.010

// Mark is what one record says about the connection of a socket. The next record is
// compared with it to tell whether the connection is still the same: a program can
// disconnect a descriptor (AF_UNSPEC) and connect it again between the same ports, and it
// keeps its cookie. Times are seconds of CLOCK_MONOTONIC, as late as they can be; zero
// means none. It is part of the state file.
type Mark struct {
	Known    bool    `json:"known,omitempty"` // the record had a tcp_info
	Agreed   uint16  `json:"agreed,omitempty"`
	SegsIn   uint32  `json:"segs_in,omitempty"`
	SegsOut  uint32  `json:"segs_out,omitempty"`
	Sent     uint64  `json:"sent,omitempty"`
	Received uint64  `json:"received,omitempty"`
	Acked    uint64  `json:"acked,omitempty"`
	Waits    bool    `json:"waits,omitempty"` // something was not acknowledged yet
	Busy     uint64  `json:"busy,omitempty"`  // microseconds
	Timeouts uint8   `json:"timeouts,omitempty"`
	SentAt   float64 `json:"sent_at,omitempty"`
	GotAt    float64 `json:"got_at,omitempty"`
	AckedAt  float64 `json:"acked_at,omitempty"`
	Token    uint32  `json:"token,omitempty"`     // of MPTCP: each connection has another
	Ends     float64 `json:"ends,omitempty"`      // when the timer of a mini-socket fires, or the first one of a SYN
	FirstRTO float64 `json:"first_rto,omitempty"` // when that timer of a SYN fired

	// Look is how long the look lasted that read the record, in seconds. The times can be
	// that much earlier than noted.
	Look float64 `json:"look,omitempty"`
}

// handshakeOptions are the bits of tcpi_options that a handshake settles: timestamps, SACK,
// window scaling, data in the SYN. The bit of ECN can change later.
const handshakeOptions = 1 | 2 | 4 | collectors.OptSynData

// MarkOf is the mark of a record that was read between began and now.
func MarkOf(s *collectors.Socket, began, now float64) Mark {
	if s.Protocol != collectors.TCP {
		return Mark{Token: s.Token}
	}
	m := Mark{Look: now - began}
	if s.Timer == collectors.TimerTimeWait {
		m.Ends = now + collectors.Seconds(s.TimerExpires)
	}
	if !s.Known.Has(collectors.FieldRTO) {
		return m
	}
	i := &s.Info
	m.Known = true
	m.SegsIn, m.SegsOut, m.Sent, m.Received, m.Busy = i.SegsIn, i.SegsOut, i.BytesSent, i.BytesReceived, i.BusyTime
	m.Acked, m.Waits = i.BytesAcked, Waits(s)
	if s.State == collectors.SynSent {
		m.markSYN(s, now)
	} else {
		m.Agreed = uint16(i.WindowScales)<<8 | uint16(i.Options&handshakeOptions)
	}
	if s.Known.Has(collectors.FieldAckIdle) {
		m.AckedAt = now - collectors.Seconds(i.LastAckRecv)
		m.SentAt, m.GotAt = now-collectors.Seconds(i.LastDataSent), now-collectors.Seconds(i.LastDataRecv)
	}
	return m
}

// markSYN notes the first timer of a SYN: each connect(2) starts it anew.
func (m *Mark) markSYN(s *collectors.Socket, now float64) {
	i := &s.Info
	switch m.Timeouts = i.Retransmits; {
	case i.Retransmits == 0:
		m.Ends = now + collectors.Seconds(s.TimerExpires)
	case i.Len >= collectors.InfoRTOTime:
		m.FirstRTO = now - collectors.Seconds(i.RTOTime)
	}
}

// late is by how much, in seconds, the first timer of a SYN can fire late.
const late = 0.1

// sameSYN reports whether two records show the same SYN. Its first timer fires once, on time
// or a little late. If a stray answer makes it fire early, that counts as another SYN.
func (m *Mark) sameSYN(next *Mark) bool {
	grain := 2*Jiffy + m.Look + next.Look
	switch {
	case next.Timeouts < m.Timeouts:
		return false
	case m.Ends > 0 && next.Ends > 0:
		return math.Abs(next.Ends-m.Ends) <= grain
	case m.Ends > 0 && next.FirstRTO > 0:
		return next.FirstRTO >= m.Ends-grain && next.FirstRTO <= m.Ends+late
	case m.FirstRTO > 0 && next.FirstRTO > 0:
		return math.Abs(next.FirstRTO-m.FirstRTO) <= grain
	}
	return true
}

// timeWait is how long a mini-socket in TIME_WAIT lasts (TCP_TIMEWAIT_LEN), and
// firstSYN how long the first timeout of a SYN at least (TCP_TIMEOUT_INIT), in seconds.
const timeWait, firstSYN = 60.0, 1.0

// hides reports whether another connection can have begun after the look that left m,
// which began then, and be the one that next shows: if all that would tell them apart
// is stamps, and those of m are as new as that look, the new one renews them by too
// little. It is for marks of which continuedBy holds.
func (m *Mark) hides(next *Mark, looked float64) bool {
	// By so much a stamp may be renewed without being told apart, and may then be off.
	grain := 4*Jiffy + next.Look
	switch {
	case m.Known && m.Timeouts == 0 && m.Ends > 0: // a SYN: times are compared both ways
		return m.Ends-firstSYN+max(grain+m.Look, late) >= looked
	case m.FirstRTO > 0:
		return m.FirstRTO+grain+m.Look >= looked
	case m.Timeouts > 0: // before Linux 6.7: counters are all there is
		return false
	case !m.Known:
		return m.Ends > 0 && m.Ends-timeWait+grain >= looked
	case m.grew(next):
		return false
	case m.AckedAt == 0:
		return true // nothing tells them apart
	}
	// A handshake renews all stamps. One whose counter is as it was would show it.
	newest := math.Inf(1)
	if next.SegsIn == m.SegsIn {
		newest = m.AckedAt
	}
	if next.Sent == m.Sent {
		newest = min(newest, m.SentAt)
	}
	if next.Received == m.Received && isSet(m.GotAt) {
		newest = min(newest, m.GotAt)
	}
	return newest+grain >= looked
}

// isSet reports whether a stamp of received data is one, and not the zero that it is
// until data comes if both ends have opened at once, or there is only one: that counts
// from when jiffies were zero, five minutes after the machine began (INITIAL_JIFFIES).
func isSet(at float64) bool {
	const zero, near, wrap = 300.0, 5.0, (1 << 32) / 1000.0 // seconds; milliseconds have 32 bits
	return at > 0 && math.Abs(math.Mod(at, wrap)-zero) > near
}

// grew reports whether segments went both ways between two looks. A connection that
// took the place of another shows as that only once it is longer than it (docs/ages.md).
func (m *Mark) grew(next *Mark) bool { return next.SegsIn > m.SegsIn && next.SegsOut > m.SegsOut }

// bare reports whether the connection has moved no data: each that begins looks alike.
func (m *Mark) bare() bool { return m.Sent == 0 && m.Received == 0 }

// continuedBy reports whether a later record can be of the same connection.
// Counters and stamps only grow, and no stamp is renewed without its counter: only a
// handshake does that.
func (m *Mark) continuedBy(next *Mark) bool {
	if !m.Known && next.Known || m.Token != next.Token {
		return false // from another collector, or of a mini-socket: nobody can tell
	}
	later := func(a, b float64) bool { return a > 0 && b-next.Look > a+2*Jiffy }
	earlier := func(a, b float64) bool { return a > 0 && b+4*Jiffy < a-m.Look }
	switch {
	case !m.Known:
		return !later(m.Ends, next.Ends) // otherwise the timer began again
	case !m.sameSYN(next):
		return false
	case next.Agreed != m.Agreed, next.SegsIn < m.SegsIn, next.SegsOut < m.SegsOut,
		next.Sent < m.Sent, next.Received < m.Received, next.Busy < m.Busy, next.Acked < m.Acked:
		return false
	case next.AckedAt > 0 && (earlier(m.AckedAt, next.AckedAt) || earlier(m.SentAt, next.SentAt) || earlier(m.GotAt, next.GotAt)):
		return false
	case next.SegsIn == m.SegsIn && (later(m.AckedAt, next.AckedAt) || later(m.GotAt, next.GotAt)):
		return false
	case next.Sent == m.Sent && later(m.SentAt, next.SentAt):
		return false
	case next.Received == m.Received && later(m.GotAt, next.GotAt):
		return false
	}
	return true
}
