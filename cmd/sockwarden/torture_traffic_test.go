package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

// listening is a listener. The first byte of a connection says what becomes of it: an E
// is echoed and closed after its end, an L is never closed.
type listening struct {
	world  *living
	l      net.Listener
	leaked chan *net.TCPConn
}

func (w *living) serve(addr string) error {
	s := &listening{world: w, leaked: make(chan *net.TCPConn, 1)}
	err := w.enter(func() error {
		lc := net.ListenConfig{KeepAlive: -1}
		lc.SetMultipathTCP(false)
		var err error
		s.l, err = lc.Listen(context.Background(), "tcp", addr)
		return err
	})
	if err != nil {
		return err
	}
	w.servers[addr] = s
	go func() {
		for {
			c, err := s.l.Accept()
			if err != nil {
				if !errors.Is(err, net.ErrClosed) {
					w.errorf("accept at %s: %v", addr, err)
				}
				return
			}
			go s.handle(c.(*net.TCPConn))
		}
	}()
	return nil
}

func (s *listening) handle(c *net.TCPConn) {
	kind := make([]byte, 1)
	if _, err := io.ReadFull(c, kind); err != nil {
		_ = c.Close()
		return
	}
	if kind[0] == 'L' {
		s.leaked <- c
		return
	}
	_, _ = io.Copy(c, struct{ io.Reader }{c}) // its client says what is wrong
	_ = c.Close()
}

func (w *living) dial(addr string, kind byte) (*net.TCPConn, error) {
	var c net.Conn
	err := w.enter(func() (err error) {
		c, err = (&net.Dialer{KeepAlive: -1, Timeout: patience}).Dial("tcp", addr)
		return err
	})
	if err != nil {
		return nil, err
	}
	_, err = c.Write([]byte{kind})
	return c.(*net.TCPConn), err
}

// roundTrip sends something random and expects it back.
func (w *living) roundTrip(c net.Conn, r *rand.Rand) error {
	sent := make([]byte, 1+r.IntN(2048))
	for i := range sent {
		sent[i] = byte(r.Uint32())
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := c.Write(sent); err != nil {
		return err
	}
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(got, sent) {
		return fmt.Errorf("%d bytes came back changed", len(sent))
	}
	w.count(func(s *stats) { s.RoundTrips++; s.Bytes += len(sent) })
	return nil
}

// longLived is a connection with traffic that lasts until the end.
type longLived struct {
	world *living
	addr  string
	conn  *net.TCPConn
	dead  bool
}

func (c *longLived) open() (err error) {
	if c.conn, err = c.world.dial(c.addr, 'E'); err == nil {
		c.world.count(func(s *stats) { s.Opened++ })
	}
	return err
}

func (c *longLived) run() {
	r := rand.New(rand.NewPCG(rand.Uint64(), 1))
	for {
		if err := c.world.roundTrip(c.conn, r); err != nil {
			c.dead = true
			if c.world.Expendable {
				c.world.count(func(s *stats) { s.Died++ })
			} else {
				c.world.errorf("connection with %s: %v", c.addr, err)
			}
			return
		}
		select {
		case <-c.world.end:
			return
		case <-time.After(time.Duration(20+r.IntN(100)) * time.Millisecond):
		}
	}
}

// churn opens and closes connections in all the ways programs do.
func (w *living) churn() {
	r := rand.New(rand.NewPCG(rand.Uint64(), 2))
	for {
		select {
		case <-w.stop:
			return
		case <-time.After(time.Duration(r.IntN(5)) * time.Millisecond):
		}
		addr := w.Traffic.ChurnTo[r.IntN(len(w.Traffic.ChurnTo))]
		c, err := w.dial(addr, 'E')
		if err != nil {
			w.errorf("short-lived connection with %s: %v", addr, err)
			continue
		}
		w.count(func(s *stats) { s.Opened++ })
		for range r.IntN(3) {
			if err = errors.Join(err, w.roundTrip(c, r)); err != nil {
				break
			}
		}
		switch r.IntN(4) {
		case 0: // RST
			err = errors.Join(err, c.SetLinger(0))
		case 1: // the other end is in CLOSE_WAIT for a moment
			err = errors.Join(err, c.CloseWrite())
			_, readErr := io.Copy(io.Discard, c)
			err = errors.Join(err, readErr)
		}
		if err = errors.Join(err, c.Close()); err != nil {
			w.errorf("short-lived connection with %s: %v", addr, err)
		}
		w.count(func(s *stats) { s.Closed++ })
	}
}

func (w *living) serveUDP(addr string) error {
	var c net.PacketConn
	err := w.enter(func() (err error) {
		c, err = net.ListenPacket("udp", addr)
		return err
	})
	if err != nil {
		return err
	}
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := c.ReadFrom(buf)
			if err == nil {
				_, err = c.WriteTo(buf[:n], from)
			}
			if err != nil {
				w.errorf("UDP server %s: %v", addr, err)
				return
			}
		}
	}()
	return nil
}

func (w *living) askUDP(addr string) {
	var c net.Conn
	err := w.enter(func() (err error) {
		c, err = net.Dial("udp", addr)
		return err
	})
	for n := 0; err == nil; n++ {
		sent, got := fmt.Appendf(nil, "%s %d", addr, n), make([]byte, 2048)
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err = c.Write(sent); err != nil {
			break
		}
		var size int
		if size, err = c.Read(got); err == nil && !bytes.Equal(got[:size], sent) {
			err = fmt.Errorf("%q became %q", sent, got[:size])
		}
		w.count(func(s *stats) { s.Datagrams++ })
		select {
		case <-w.end:
			_ = c.Close()
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
	w.errorf("UDP client of %s: %v", addr, err)
}
