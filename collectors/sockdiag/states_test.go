package sockdiag

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// shown is what a record of a kind says beyond its state and ends.
type shown struct {
	recv, send uint32
	timer      collectors.Timer
	segments   bool // the part of tcp_info that counts segments
	stamps     bool // the rest of tcp_info
}

var shownBy = map[socklab.Kind]shown{
	socklab.Established:           {segments: true, stamps: true},
	socklab.EstablishedUnaccepted: {segments: true, stamps: true},
	socklab.CloseWait:             {segments: true, stamps: true},
	socklab.CloseWaitFIN:          {recv: 1, segments: true, stamps: true},
	socklab.CloseWaitUnread:       {recv: socklab.UnreadBytes + 1, segments: true, stamps: true},
	socklab.CloseWaitUnaccepted:   {recv: 1, segments: true, stamps: true},
	socklab.FinWait1:              {send: 1, timer: collectors.TimerRetransmit, segments: true, stamps: true},
	socklab.FinWait1Orphan:        {send: 1, timer: collectors.TimerRetransmit, segments: true, stamps: true},
	socklab.FinWait2:              {segments: true, stamps: true},
	socklab.FinWait2Orphan:        {timer: collectors.TimerTimeWait},
	socklab.Closing:               {recv: 1, send: 1, timer: collectors.TimerRetransmit, segments: true, stamps: true},
	socklab.ClosingOrphan:         {recv: 1, send: 1, timer: collectors.TimerRetransmit, segments: true, stamps: true},
	socklab.LastAck:               {recv: 1, send: 1, timer: collectors.TimerRetransmit, segments: true, stamps: true},
	socklab.LastAckOrphan:         {recv: 1, send: 1, timer: collectors.TimerRetransmit, segments: true, stamps: true},
	socklab.TimeWait:              {timer: collectors.TimerTimeWait},
	socklab.SynSent:               {send: 1, timer: collectors.TimerRetransmit, segments: true},
	socklab.SynRecv:               {timer: collectors.TimerRetransmit},
	socklab.Listen:                {send: 4096},
	socklab.Bound:                 {},
	socklab.UDPBound:              {},
	socklab.UDPConnected:          {},
}

// Every kind of socket in every family: the dump shows it as it is, a look-up by its
// cookie shows the same, and once destroyed it is gone.
func TestStates(t *testing.T) {
	socklab.Need(t)
	for _, k := range socklab.Kinds() {
		for _, f := range socklab.Families() {
			t.Run(fmt.Sprintf("%s/%s", k, f), func(t *testing.T) {
				socklab.LeakCheck(t)
				began := time.Now()
				c, subject := dialTest(t, -1), socklab.Make(t, k, f)
				if hidden(t, c, subject) {
					return
				}
				s := find(t, c, subject)
				checkIdentity(t, c, subject, &s)
				checkFacts(t, subject, &s)
				checkKnown(t, subject, &s)
				checkInfo(t, subject, &s, began)
				checkGet(t, c, subject, &s)
				checkDestroy(t, c, subject, &s)
			})
		}
	}
}

// checkIdentity compares the record with getsockopt and fstat.
func checkIdentity(t *testing.T, c *Conn, subject *socklab.Conn, s *collectors.Socket) {
	t.Helper()
	if s.Cookie == 0 || s.NetNS == 0 || s.NetNS != c.NetNS() {
		t.Errorf("cookie %x, netns %d of %d", s.Cookie, s.NetNS, c.NetNS())
	}
	wantFamily := collectors.IPv6
	if subject.Family == socklab.IPv4 {
		wantFamily = collectors.IPv4
	}
	if s.Family != wantFamily {
		t.Errorf("family %d", s.Family)
	}
	if subject.FD < 0 {
		if s.Inode != 0 {
			t.Errorf("inode %d of a socket without a process", s.Inode)
		}
		return
	}
	if cookie, err := unix.GetsockoptUint64(subject.FD, unix.SOL_SOCKET, unix.SO_COOKIE); err != nil || cookie != s.Cookie {
		t.Errorf("cookie %x, by SO_COOKIE %x (%v)", s.Cookie, cookie, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(subject.FD, &st); err != nil || st.Ino != uint64(s.Inode) {
		t.Errorf("inode %d, by fstat %d (%v)", s.Inode, st.Ino, err)
	}
}

func checkFacts(t *testing.T, subject *socklab.Conn, s *collectors.Socket) {
	t.Helper()
	k, want := subject.Kind, shownBy[subject.Kind]
	if s.State != k.State() {
		t.Errorf("state %s, not %s", s.State, k.State())
	}
	if collectors.Orphaned(s) != k.Orphan() || collectors.Unaccepted(s) != k.Unaccepted() {
		t.Errorf("orphaned %t, unaccepted %t", collectors.Orphaned(s), collectors.Unaccepted(s))
	}
	if s.RecvQueue != want.recv || s.SendQueue != want.send {
		t.Errorf("queues %d and %d, not %d and %d", s.RecvQueue, s.SendQueue, want.recv, want.send)
	}
	if s.Timer != want.timer || (s.TimerExpires > 0) != (want.timer != collectors.TimerNone) {
		t.Errorf("timer %s with %d ms left, not %s", s.Timer, s.TimerExpires, want.timer)
	}
	if s.TimerExpires > 60_000 || s.IfIndex != 0 || s.Subflow {
		t.Errorf("timer %d ms, interface %d, subflow %t", s.TimerExpires, s.IfIndex, s.Subflow)
	}
	r := collectors.NewRecord(s, nil, nil, nil, "")
	m := collectors.Map(&r)
	wantFamily := "ipv4"
	if subject.Family == socklab.IPv6 {
		wantFamily = "ipv6"
	}
	// A mapped listener is recognised by its address, which is IPv4.
	if m["family"] != wantFamily {
		t.Errorf("field family is %v", m["family"])
	}
	if m["eof_read"] != (k == socklab.CloseWait) {
		t.Errorf("field eof_read is %v", m["eof_read"])
	}
}

func checkKnown(t *testing.T, subject *socklab.Conn, s *collectors.Socket) {
	t.Helper()
	want := collectors.Fields(collectors.FieldProtocol, collectors.FieldFamily, collectors.FieldState, collectors.FieldLocalAddr,
		collectors.FieldPort, collectors.FieldRemoteAddr, collectors.FieldRemotePort, collectors.FieldCookie, collectors.FieldInode,
		collectors.FieldRecvQueue, collectors.FieldSendQueue, collectors.FieldEOFRead, collectors.FieldTimer, collectors.FieldTimerExpires,
		collectors.FieldRetransmits, collectors.FieldOwned, collectors.FieldOrphan, collectors.FieldUnaccepted)
	if subject.Kind.Owned() || subject.Kind.Unaccepted() {
		want.Add(collectors.Fields(collectors.FieldUID))
	}
	if !subject.Kind.Owned() {
		want.Add(collectors.Fields(collectors.FieldOwners, collectors.FieldPID, collectors.FieldProcess, collectors.FieldExe, collectors.FieldCmdline))
	}
	if k := subject.Kind; k != socklab.TimeWait && k != socklab.SynRecv && k != socklab.FinWait2Orphan {
		want.Add(collectors.Fields(collectors.FieldSendBuffer))
		if k.Protocol() == collectors.UDP {
			want.Add(collectors.Fields(collectors.FieldDrops))
		} else if k != socklab.Bound {
			want.Add(collectors.CongestionFields())
		}
	}
	want.Add(collectors.Fields(collectors.FieldMark))
	if shownBy[subject.Kind].segments {
		want.Add(collectors.Fields(collectors.FieldBackoff, collectors.FieldRTO, collectors.FieldUnacked, collectors.FieldLost))
	}
	if shownBy[subject.Kind].stamps {
		want.Add(collectors.Fields(collectors.FieldIdle, collectors.FieldIdleRecv, collectors.FieldIdleSend, collectors.FieldAckIdle,
			collectors.FieldRTT, collectors.FieldBytesSent, collectors.FieldBytesReceived))
	}
	for f := range s.Known.AndNot(want).Each {
		t.Errorf("%s is known", f)
	}
	for f := range want.AndNot(s.Known).Each {
		t.Errorf("%s is not known", f)
	}
}

// jiffies is a generous bound on the resolution of times in tcp_info.
const jiffies = 20 * time.Millisecond

func checkInfo(t *testing.T, subject *socklab.Conn, s *collectors.Socket, began time.Time) {
	t.Helper()
	i := &s.Info
	if want := shownBy[subject.Kind]; !want.segments {
		if *i != (collectors.TCPInfo{}) {
			t.Errorf("tcp_info %+v", *i)
		}
		return
	} else if !want.stamps {
		if i.RTO < 200_000 || i.Unacked != 1 || i.LastDataRecv != 0 || i.LastDataSent != 0 || i.LastAckRecv != 0 || i.RTT != 0 {
			t.Errorf("tcp_info %+v", *i)
		}
		return
	}
	if i.RTO < 200_000 || i.RTO > 10_000_000 || i.RTT == 0 || i.RTT > 1_000_000 {
		t.Errorf("RTO %d us, RTT %d us", i.RTO, i.RTT)
	}
	if i.Unacked != s.SendQueue || i.BytesSent != 0 {
		t.Errorf("%d segments unacknowledged, %d bytes sent", i.Unacked, i.BytesSent)
	}
	oldest := time.Since(began) + jiffies
	for _, ms := range []uint32{i.LastDataRecv, i.LastDataSent, i.LastAckRecv} {
		if age := time.Duration(ms) * time.Millisecond; age > oldest {
			t.Errorf("a time stamp is %s old, the connection at most %s", age, oldest)
		}
	}
	payload := uint64(0)
	if subject.Kind == socklab.CloseWaitUnread {
		payload = socklab.UnreadBytes
	}
	if i.BytesReceived != payload {
		t.Errorf("%d bytes received", i.BytesReceived)
	}
}

func checkGet(t *testing.T, c *Conn, subject *socklab.Conn, s *collectors.Socket) {
	t.Helper()
	now, err := c.Get(t.Context(), s)
	if err != nil {
		t.Errorf("get: %v", err)
		return
	}
	if collectors.KeyOf(&now) != collectors.KeyOf(s) || now.Known != s.Known || now.Inode != s.Inode ||
		now.RecvQueue != s.RecvQueue || now.SendQueue != s.SendQueue || now.Info.Len != s.Info.Len {
		t.Errorf("get gives\n%+v\nthe dump\n%+v", now, *s)
	}
	other := *s
	other.Cookie++
	if _, err := c.Get(t.Context(), &other); !errors.Is(err, collectors.ErrGone) {
		t.Errorf("get with another cookie: %v", err)
	}
	if err := c.Destroy(t.Context(), &other); !errors.Is(err, collectors.ErrGone) {
		t.Errorf("destroy with another cookie: %v", err)
	}
	if state, ok := subject.Now(); subject.Kind != socklab.Bound && (!ok || state != subject.Kind.State()) {
		t.Errorf("after destroying another cookie it is %s (%t)", state, ok)
	}
}

func checkDestroy(t *testing.T, c *Conn, subject *socklab.Conn, s *collectors.Socket) {
	t.Helper()
	err := c.Destroy(t.Context(), s)
	if subject.Kind == socklab.Bound { // the kernel does not look up bound sockets
		if !errors.Is(err, collectors.ErrGone) {
			t.Errorf("destroy: %v", err)
		}
		return
	}
	if err != nil {
		t.Errorf("destroy: %v", err)
		return
	}
	now, err := c.Get(t.Context(), s)
	if !errors.Is(err, collectors.ErrGone) {
		t.Errorf("get after destroy: %s, %v", now.State, err)
	}
	if state, ok := subject.Now(); ok && subject.Kind != socklab.SynRecv {
		t.Errorf("after destroy it is %s", state)
	}
	if err := c.Destroy(t.Context(), s); !errors.Is(err, collectors.ErrGone) {
		t.Errorf("destroy again: %v", err)
	}
}
