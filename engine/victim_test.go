package engine

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab/tunpeer"
	"sockwarden/engine/memory"
)

// victim is one socket of the kernel, with the peer that attacks it.
type victim struct {
	*sock
	a      *attack
	number int
	rng    *rand.Rand
	peer   *tunpeer.Conn // nil for a socket that is connected to itself
	remote netip.AddrPort
	active bool // it has a port of its own and can be connected again

	steps int
	next  time.Time
	log   []string

	began     time.Time // of the connection, or before
	state     collectors.State
	since     time.Time // when it was in another state, or another connection
	seenSince time.Time // when it was first seen in this state
	lastSeen  time.Time // it was in its state at this time, or later
	oldACK    bool      // a FIN came with an old ACK number
	cookie    uint64
	again     bool // it was connected again
	marked    map[memorized]time.Time
	// What the last record said about what waits to be acknowledged, when that look
	// began, and the time after which something has moved since, or begun to wait.
	acked  uint64
	waits  bool
	looked time.Time
	moved  time.Time
	wrong  bool
}

// memorized is what a memory knows of a socket in one state; a victim notes since when.
type memorized struct {
	memory *memory.Memory
	key    collectors.Key
}

func (v *victim) family() string {
	if v.v6 {
		return "v6"
	}
	return "v4"
}

func (v *victim) say(format string, args ...any) {
	v.log = append(v.log, fmt.Sprintf("%7.3f %s", time.Since(v.a.start).Seconds(), fmt.Sprintf(format, args...)))
}

func (v *victim) story() string { return strings.Join(v.log, "\n") }

// anew notes that from now on everything belongs to a new connection.
func (v *victim) anew() {
	v.began = time.Now()
	v.since, v.seenSince, v.lastSeen, v.state, v.oldACK = v.began, time.Time{}, v.began, 0, false
}

// saw notes that the socket was in a state at some time from before to after.
func (v *victim) saw(s collectors.State, before, after time.Time) {
	if s != v.state {
		v.say("is %s", s)
		v.since, v.seenSince, v.state = v.lastSeen, after, s
	}
	v.lastSeen = before
}

// poll looks at the state through the descriptor; it returns false if that has none any
// more. To the descriptor, what the kernel goes on with in TIME_WAIT is closed.
func (v *victim) poll() bool {
	if v.fd < 0 {
		return false
	}
	before := time.Now()
	i, err := unix.GetsockoptTCPInfo(v.fd, unix.SOL_TCP, unix.TCP_INFO)
	if err != nil || collectors.State(i.State) == collectors.Close {
		return false
	}
	v.saw(collectors.State(i.State), before, time.Now())
	return true
}

func newVictim(a *attack, seed uint64) *victim {
	v := &victim{a: a, number: a.begun, rng: rand.New(rand.NewPCG(seed, 1)), sock: &sock{fd: -1}, marked: map[memorized]time.Time{}}
	v.steps, v.next = 3+v.rng.IntN(22), time.Now()
	v.v6 = v.rng.IntN(2) == 1
	v.anew()
	switch v.rng.IntN(8) {
	case 0, 1, 2:
		v.passive(v.rng.IntN(3) == 0)
	case 3:
		v.simultaneous()
	case 4:
		v.itself()
	case 5:
		v.open(true)
	default:
		v.open(false)
	}
	a.victims[[2]netip.AddrPort{v.local, v.remote}] = v
	return v
}

// passive is opened by the peer, with data in the SYN if it is a fast open.
func (v *victim) passive(fast bool) {
	l := v.a.listeners[v.v6]
	v.peer, v.local = v.a.dev.Toward(l.local), l.local
	v.remote = v.peer.Peer
	v.someOptions()
	if fast || v.rng.IntN(4) == 0 {
		v.peer.Quiet(true) // the last ACK is late
	}
	v.say("passive, fast open %t", fast)
	if fast {
		v.peer.Send(tunpeer.SYN, make([]byte, v.rng.IntN(300)), 0)
	} else {
		v.peer.Send(tunpeer.SYN, nil, 0)
	}
}

// someOptions sets some options of a handshake: window scale, time stamps, SACK.
func (v *victim) someOptions() {
	if v.rng.IntN(2) == 0 {
		v.peer.SetOptions([]byte{2, 4, 5, 180, 3, 3, 7, 4, 2})
	}
}

// open is opened by the kernel; a deaf peer does not answer.
func (v *victim) open(deaf bool) {
	v.sock = keepsPort(v.a.t, tunpeer.Local(v.v6))
	v.peer, v.active = v.a.dev.Await(v.v6), true
	v.remote = v.peer.Peer
	v.someOptions()
	v.peer.Quiet(deaf)
	v.anew()
	v.say("active, deaf %t", deaf)
	v.connect(v.a.t, v.remote)
}

// simultaneous is opened by both; the peer's ACK comes later, or never.
func (v *victim) simultaneous() {
	v.sock = keepsPort(v.a.t, tunpeer.Local(v.v6))
	v.peer, v.active = v.a.dev.Await(v.v6), true
	v.remote = v.peer.Peer
	v.peer.Quiet(true)
	greeted := false
	v.peer.Answer(func(c *tunpeer.Conn, s *tunpeer.Segment) bool {
		if s.Flags&(tunpeer.SYN|tunpeer.ACK) != tunpeer.SYN || greeted {
			return false
		}
		greeted = true
		c.Greet()
		return false
	})
	v.anew()
	v.say("simultaneous")
	v.connect(v.a.t, v.remote)
}

// itself is connected to itself.
func (v *victim) itself() {
	at := netip.MustParseAddr("127.0.0.1")
	if v.v6 {
		at = netip.IPv6Loopback()
	}
	v.sock = keepsPort(v.a.t, at)
	v.remote, v.active = v.local, true
	v.anew()
	v.say("connected to itself")
	v.connect(v.a.t, v.remote)
}

// step does one thing to the connection.
func (v *victim) step() {
	v.steps--
	wait := v.rng.IntN(60)
	if v.rng.IntN(5) == 0 {
		wait = v.rng.IntN(1200)
	}
	v.next = time.Now().Add(time.Duration(wait) * time.Millisecond)
	if v.peer == nil || v.fd >= 0 && v.rng.IntN(3) == 0 {
		v.locally()
	} else {
		v.attack()
	}
}

// locally is what the program that has the socket does.
func (v *victim) locally() {
	if v.fd < 0 {
		return
	}
	switch n := v.rng.IntN(14); n {
	case 0, 1, 2, 3:
		n, err := unix.Write(v.fd, make([]byte, 1+v.rng.IntN(3000)))
		v.say("writes %d, %v", n, err)
	case 4, 5:
		n, err := unix.Read(v.fd, make([]byte, 1+v.rng.IntN(5000)))
		v.say("reads %d, %v", n, err)
	case 6, 7:
		v.say("shuts down, %v", unix.Shutdown(v.fd, unix.SHUT_WR))
	case 8, 9, 10:
		ms := []int{0, 10, 30, 90, 300, 2000}[v.rng.IntN(6)]
		v.say("user timeout %d, %v", ms, unix.SetsockoptInt(v.fd, unix.SOL_TCP, unix.TCP_USER_TIMEOUT, ms))
	case 11:
		_ = unix.SetsockoptInt(v.fd, unix.SOL_TCP, unix.TCP_KEEPIDLE, 1)
		v.say("keepalive, %v", unix.SetsockoptInt(v.fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
	case 12:
		if v.active && v.poll() {
			v.connectAgain()
		}
	case 13:
		v.say("closes")
		v.poll()
		_ = unix.Close(v.fd)
		v.fd = -1
	}
}

// connectAgain disconnects the descriptor and connects it between the same ports.
func (v *victim) connectAgain() {
	v.anew()
	v.again = true
	v.disconnect(v.a.t)
	if v.peer != nil {
		v.peer.AwaitAgain()
		v.peer.Quiet(v.rng.IntN(4) == 0)
	}
	v.anew()
	err := unix.Connect(v.fd, sockaddr(v.remote))
	v.say("is connected again, %v", err)
}

// attack is what the peer does.
func (v *victim) attack() {
	c := v.peer
	old := -v.rng.IntN(2000) * v.rng.IntN(2) // an old ACK number, every other time
	switch v.rng.IntN(18) {
	case 0, 1, 2:
		v.say("data, ack %d", old)
		c.Send(tunpeer.ACK|tunpeer.PSH, make([]byte, 1+v.rng.IntN(1000)), old)
	case 3:
		v.say("data ahead, ack %d", old)
		c.SendAt(1+v.rng.IntN(300), tunpeer.ACK, make([]byte, 1+v.rng.IntN(100)), old)
	case 4:
		v.say("data again, ack %d", old)
		c.SendAt(-v.rng.IntN(500), tunpeer.ACK, make([]byte, 1+v.rng.IntN(400)), old)
	case 5, 6:
		v.say("FIN, ack %d", old)
		v.oldACK = v.oldACK || old < 0
		c.Send(tunpeer.ACK|tunpeer.FIN, make([]byte, v.rng.IntN(100)*v.rng.IntN(2)), old)
	case 7:
		v.say("FIN again, ack %d", old)
		v.oldACK = v.oldACK || old < 0
		c.SendAt(-1, tunpeer.ACK|tunpeer.FIN, nil, old)
	case 8:
		n := 1 + v.rng.IntN(200)
		v.say("FIN ahead, then what was missing, ack %d", old)
		c.SendAt(n, tunpeer.ACK|tunpeer.FIN, nil, 0)
		c.Send(tunpeer.ACK, make([]byte, n), old)
		c.Skip(1)
	case 9, 10:
		v.say("ACK %d", old)
		c.Send(tunpeer.ACK, nil, old)
	case 11:
		v.say("no window")
		c.SetWindow(0)
		c.Send(tunpeer.ACK, nil, 0)
	case 12:
		v.say("a window")
		c.SetWindow(uint16(1 + v.rng.IntN(65000)))
		c.Send(tunpeer.ACK, nil, 0)
	case 13, 14:
		quiet := v.rng.IntN(2) == 0
		v.say("quiet %t", quiet)
		c.Quiet(quiet)
	case 15:
		some := byte(v.rng.IntN(256))
		o := [][]byte{nil, {8, 10, some, 1, 2, 3, 4, 5, 6, 7}, {5, 10, 1, 2, 3, 4, 5, 6, 7, some}, {3, 3, some % 14}}[v.rng.IntN(4)]
		v.say("options %v", o)
		c.SetOptions(o)
	case 16:
		v.say("SYN")
		c.SendAt(v.rng.IntN(3)-1, tunpeer.SYN, nil, 0)
	case 17:
		if v.rng.IntN(4) == 0 {
			v.say("RST")
			c.Send(tunpeer.RST|tunpeer.ACK, nil, 0)
		}
	}
}

// end is the last step: what remains of the socket is still looked at.
func (v *victim) end() {
	v.steps = 0
	switch v.rng.IntN(3) {
	case 0:
		v.reset()
	default:
		v.poll()
		if v.fd >= 0 {
			_ = unix.Close(v.fd)
			v.fd = -1
		}
	}
	if v.peer != nil && v.rng.IntN(2) == 0 {
		v.peer.Send(tunpeer.RST|tunpeer.ACK, nil, 0)
	}
}

// moves returns the latest time after which something was acknowledged, or began to wait,
// as far as the records show; the look for this record began at before.
func (v *victim) moves(rec *collectors.Socket, before time.Time) time.Time {
	waits := memory.Waits(rec)
	switch {
	case !waits:
		v.moved = before
	case !v.waits || rec.Info.BytesAcked != v.acked:
		v.moved = v.looked
	}
	if v.moved.Before(v.began) {
		v.moved = v.began
	}
	v.acked, v.waits, v.looked = rec.Info.BytesAcked, waits, before
	return v.moved
}
