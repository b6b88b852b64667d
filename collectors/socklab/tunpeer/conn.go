package tunpeer

import (
	"net/netip"
	"sync"
	"testing"
	"time"
)

// Conn is the peer's end of a connection. Its methods are safe for concurrent use.
type Conn struct {
	Peer   netip.AddrPort
	Kernel netip.AddrPort // if the kernel connects, unknown until its SYN has come

	dev *Device
	mu  sync.Mutex
	// quiet says that only the test acknowledges.
	quiet    bool
	greeted  bool   // we have sent our SYN
	seq, ack uint32 // the next number to send, and the next expected
	window   uint16
	options  []byte
	answer   func(c *Conn, s *Segment) bool
	came     []Segment
	wake     chan struct{}
	lost     error // why the last segment that was lost could not be sent
}

// waitLimit bounds every wait: far more than a loaded machine takes.
const waitLimit = 2 * time.Minute

const firstSeq = 1_000_000

func (d *Device) newConn(v6 bool) *Conn {
	return &Conn{
		dev: d, Peer: netip.AddrPortFrom(Peer(v6), d.newPort()),
		seq: firstSeq, window: 65000, wake: make(chan struct{}, 1),
	}
}

// Await is an end that the kernel will connect to.
func (d *Device) Await(v6 bool) *Conn {
	c := d.newConn(v6)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.await[c.Peer] = c
	return c
}

// AwaitAgain makes the end wait for another SYN from the kernel, on a new connection.
func (c *Conn) AwaitAgain() {
	c.mu.Lock()
	c.seq, c.ack, c.came = c.seq+1_000_000, 0, nil
	c.greeted = false
	c.mu.Unlock()
	c.dev.mu.Lock()
	defer c.dev.mu.Unlock()
	delete(c.dev.conns, [2]netip.AddrPort{c.Peer, c.Kernel})
	c.dev.await[c.Peer] = c
}

// Toward is an end that will connect to the kernel.
func (d *Device) Toward(kernel netip.AddrPort) *Conn {
	c := d.newConn(kernel.Addr().Is6())
	c.Kernel = kernel
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conns[[2]netip.AddrPort{c.Peer, kernel}] = c
	return c
}

// Forget makes the device forget the connection and drop what still comes.
func (c *Conn) Forget() {
	c.dev.mu.Lock()
	defer c.dev.mu.Unlock()
	delete(c.dev.conns, [2]netip.AddrPort{c.Peer, c.Kernel})
	delete(c.dev.await, c.Peer)
}

// Quiet turns off the ACKs of what comes in, or turns them on again.
func (c *Conn) Quiet(yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.quiet = yes
}

// Answer lets f see each segment before it is acknowledged; if f returns true, it has
// dealt with it. f sees the numbers from before the segment, and may call no other
// methods than Raw and Greet.
func (c *Conn) Answer(f func(c *Conn, s *Segment) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = f
}

// SetWindow sets the window announced from the next segment on.
func (c *Conn) SetWindow(w uint16) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.window = w
}

// SetOptions sets the options of the segments that follow.
func (c *Conn) SetOptions(o []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.options = o
}

// take records a segment from the kernel and answers it.
func (c *Conn) take(s Segment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.came = append(c.came, s); len(c.came) > 64 {
		c.came = c.came[1:]
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
	if c.answer != nil && c.answer(c, &s) {
		return
	}
	switch {
	case s.Flags&RST != 0:
	case s.Flags&SYN != 0:
		if c.ack = s.Seq + 1; c.quiet {
			return
		}
		if s.Flags&ACK == 0 {
			if !c.greeted {
				c.greeted = true
				c.seq++
			}
			c.Raw(Segment{Flags: SYN | ACK, Seq: c.seq - 1, Ack: c.ack})
			return
		}
		c.Raw(Segment{Flags: ACK, Seq: c.seq, Ack: c.ack})
	case s.Len() > 0:
		if s.Seq == c.ack {
			c.ack += s.Len()
		}
		if !c.quiet {
			c.Raw(Segment{Flags: ACK, Seq: c.seq, Ack: c.ack})
		}
	}
}

// Raw sends a segment with exactly these numbers and the connection's addresses. Window
// and options also come from the connection if the segment has none.
func (c *Conn) Raw(s Segment) {
	s.From, s.To = c.Peer, c.Kernel
	if s.Window == 0 {
		s.Window = c.window
	}
	if s.Options == nil {
		s.Options = c.options
	}
	if err := c.dev.Send(s); err != nil { // a device that is down loses it, as a network can
		c.lost = err
	}
}

// Greet sends a SYN without an ACK, for Answer: a simultaneous open.
func (c *Conn) Greet() {
	c.Raw(Segment{Flags: SYN, Seq: c.seq})
	c.seq++
	c.greeted = true
}

// Send sends the next segment. It fills in the sequence number, which advances, and the
// ACK, to which it adds ack.
func (c *Conn) Send(flags uint8, data []byte, ack int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Segment{Flags: flags, Seq: c.seq, Ack: c.ack + uint32(ack), Data: data}
	c.seq += s.Len()
	c.greeted = c.greeted || flags&SYN != 0
	c.Raw(s)
}

// SendAt is Send from another place in the stream; it advances nothing.
func (c *Conn) SendAt(offset int, flags uint8, data []byte, ack int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.Raw(Segment{Flags: flags, Seq: c.seq + uint32(offset), Ack: c.ack + uint32(ack), Data: data})
}

// Skip advances the sequence number as if n bytes had been sent.
func (c *Conn) Skip(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seq += uint32(n)
}

// Wait returns the first segment for which want is true, and removes it and those before
// it. It fails the test if none comes.
func (c *Conn) Wait(t testing.TB, what string, want func(s *Segment) bool) Segment {
	t.Helper()
	limit := time.After(waitLimit)
	for {
		c.mu.Lock()
		for i := range c.came {
			if want(&c.came[i]) {
				s := c.came[i]
				c.came = c.came[i+1:]
				c.mu.Unlock()
				return s
			}
		}
		c.mu.Unlock()
		select {
		case <-c.wake:
		case <-limit:
			c.mu.Lock()
			defer c.mu.Unlock()
			t.Fatalf("tunpeer: waited %s in vain for %s; came %+v, lost %v", waitLimit, what, c.came, c.lost)
		}
	}
}
