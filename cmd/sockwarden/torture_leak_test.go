package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// leaking keeps sockets in CLOSE_WAIT.
type leaking struct {
	leak
	world  *living
	server *listening
	open   []pair
	kept   []*net.TCPConn // destroyed, but their descriptors are open
	turn   int
}

// pair is a connection whose client has closed. Where nothing may happen to it, the
// client has only shut it down and still hears what the server says.
type pair struct{ server, client *net.TCPConn }

func (p pair) state() collectors.State {
	state := collectors.Close
	if raw, err := p.server.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			if info, err := unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO); err == nil {
				state = collectors.State(info.State)
			}
		})
	}
	return state
}

func (k *leaking) fill(n int) error {
	for range n {
		c, err := k.world.dial(k.Addr, 'L')
		if err != nil {
			return err
		}
		p := pair{<-k.server.leaked, c}
		if k.Named {
			err = c.Close()
		} else {
			err = c.CloseWrite()
		}
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, p.server); err != nil && !k.Named {
			return err // a named one may already be destroyed
		}
		k.open = append(k.open, p)
		k.world.count(func(s *stats) {
			s.Opened++
			s.Leaked++
			if k.Named {
				s.Named++
			}
		})
	}
	return nil
}

func (k *leaking) run() {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var freed chan struct{}
	if k.KeepFD {
		freed = k.world.freed
	}
	for {
		select {
		case <-k.world.end:
			return
		case <-freed:
			for _, c := range k.kept {
				_ = c.Close()
			}
			k.kept = nil
		case <-tick.C:
			k.check()
			k.refill()
			k.talk()
		}
	}
}

// refill replaces those that were destroyed, unless nothing may be opened any more.
func (k *leaking) refill() {
	k.world.mu.Lock()
	missing := min(k.Count-len(k.open)-len(k.kept), 10)
	k.world.mu.Unlock()
	select {
	case <-k.world.stop:
		return
	default:
	}
	if missing > 0 {
		if err := k.fill(missing); err != nil {
			k.world.errorf("leak at %s: %v", k.Addr, err)
		}
	}
}

// more adds to the first leak and returns when that is done.
func (w *living) more(n int) {
	w.mu.Lock()
	w.leaks[0].Count += n
	want := w.stats.Leaked + n
	w.mu.Unlock()
	for until := time.Now().Add(patience); w.report().Leaked < want; {
		if time.Now().After(until) {
			w.errorf("no more leaks after %s", patience)
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func (k *leaking) check() {
	var open []pair
	for _, p := range k.open {
		state := p.state()
		if state == collectors.CloseWait {
			open = append(open, p)
			continue
		}
		if !k.Named {
			k.world.errorf("CLOSE_WAIT at %s is %s", k.Addr, state)
		}
		k.world.count(func(s *stats) {
			s.Destroyed++
			if k.Named {
				s.Named--
			}
		})
		if k.KeepFD {
			k.kept = append(k.kept, p.server)
		} else {
			_ = p.server.Close()
		}
	}
	k.open = open
}

// talk sends something from a server in CLOSE_WAIT to its client.
func (k *leaking) talk() {
	if k.Named || len(k.open) == 0 {
		return
	}
	p := k.open[k.turn%len(k.open)]
	k.turn++
	text := fmt.Appendf(nil, "still here %8d\n", k.turn)
	got := make([]byte, len(text))
	_ = p.client.SetReadDeadline(time.Now().Add(patience))
	_, err := p.server.Write(text)
	if err == nil {
		_, err = io.ReadFull(p.client, got)
	}
	if err == nil && !bytes.Equal(got, text) {
		err = fmt.Errorf("%q became %q", text, got)
	}
	if err != nil {
		k.world.errorf("data of CLOSE_WAIT at %s: %v", k.Addr, err)
		return
	}
	k.world.count(func(s *stats) { s.RoundTrips++; s.Bytes += len(text) })
}
