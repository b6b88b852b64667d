package scripted_test

import (
	"net/netip"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/scripted"
)

// tuple is a socket in CLOSE_WAIT between two addresses with ports.
func tuple(local, remote string) collectors.Socket {
	l, r := netip.MustParseAddrPort(local), netip.MustParseAddrPort(remote)
	return collectors.Socket{
		State: collectors.CloseWait, Local: collectors.AddrFrom(l.Addr()), LocalPort: l.Port(), Remote: collectors.AddrFrom(r.Addr()), RemotePort: r.Port(),
	}
}

// in moves the socket to another namespace.
func in(netns uint64, s collectors.Socket) collectors.Socket {
	s.NetNS = netns
	return s
}

func nginx(pid int) collectors.Owner { return collectors.Owner{PID: pid, Name: "nginx"} }

// otherEnds are scenes around a connection of app[7] from 192.0.2.9:8000 to
// 198.51.100.1:5000 or, inside, between these ports of 127.0.0.1, with the resulting
// peer_pid, peer_process and peer_container; ? is unknown.
var otherEnds = map[string]struct {
	inside bool
	scene  func(s *stage, blue uint64)
	want   [3]any
}{
	"in its namespace": {
		scene: func(s *stage, _ uint64) { s.Add(tuple("198.51.100.1:5000", "192.0.2.9:8000"), time.Hour, nginx(9)) },
		want:  [3]any{9.0, "nginx", ""},
	},
	"in another": {
		scene: func(s *stage, blue uint64) {
			s.Add(in(blue, tuple("198.51.100.1:5000", "192.0.2.9:8000")), time.Hour, inside(8, "a"))
		},
		want: [3]any{8.0, "app", "hbbs"},
	},
	"on loopback": {
		inside: true,
		scene:  func(s *stage, _ uint64) { s.Add(tuple("127.0.0.1:5000", "127.0.0.1:8000"), time.Hour, nginx(9)) },
		want:   [3]any{9.0, "nginx", ""},
	},
	"loopback of another namespace is no end": {
		inside: true,
		scene: func(s *stage, blue uint64) {
			s.listen("127.0.0.1:8000")
			s.Add(in(blue, tuple("127.0.0.1:5000", "127.0.0.1:8000")), time.Hour, nginx(9))
		},
		want: [3]any{0.0, "", ""},
	},
	"a listener is no end": {
		inside: true,
		scene: func(s *stage, _ uint64) {
			s.listen("127.0.0.1:8000")
			l := tuple("127.0.0.1:5000", "127.0.0.1:8000")
			l.State = collectors.Listen
			s.Add(l, 0, nginx(9))
		},
		want: [3]any{0.0, "", ""},
	},
	"nobody holds it any more": {
		scene: func(s *stage, _ uint64) { s.Add(tuple("198.51.100.1:5000", "192.0.2.9:8000"), time.Hour) },
		want:  [3]any{0.0, "", ""},
	},
	"several": {
		scene: func(s *stage, blue uint64) {
			red := s.Namespace("red")
			s.Add(in(blue, tuple("198.51.100.1:5000", "192.0.2.9:8000")), time.Hour, nginx(8))
			s.Add(in(red, tuple("198.51.100.1:5000", "192.0.2.9:8000")), time.Hour, nginx(9))
		},
		want: [3]any{"?", "?", "?"},
	},
	"of several processes": {
		scene: func(s *stage, _ uint64) {
			s.Add(tuple("198.51.100.1:5000", "192.0.2.9:8000"), time.Hour, nginx(8), nginx(9))
		},
		want: [3]any{"?", "nginx", ""},
	},
	"of processes with several names": {
		scene: func(s *stage, _ uint64) {
			s.Add(tuple("198.51.100.1:5000", "192.0.2.9:8000"), time.Hour, nginx(8), inside(9, "a"))
		},
		want: [3]any{"?", "?", "?"},
	},
	"of processes that cannot be examined": {
		scene: func(s *stage, _ uint64) {
			s.Add(tuple("198.51.100.1:5000", "192.0.2.9:8000"), time.Hour, nginx(9))
			s.Hidden[9] = true
		},
		want: [3]any{"?", "?", "?"},
	},
	"on another machine": {
		scene: func(*stage, uint64) {},
		want:  [3]any{0.0, "", ""},
	},
	"some namespace cannot be seen": {
		scene: func(s *stage, _ uint64) { s.Unlisted = true },
		want:  [3]any{"?", "?", "?"},
	},
	"some namespace cannot be looked into": {
		scene: func(s *stage, _ uint64) {
			s.Fails = func(netns string, _ collectors.Query) error {
				if netns == "blue" {
					return collectors.ErrNotPermitted
				}
				return nil
			}
		},
		want: [3]any{"?", "?", "?"},
	},
	"of a client behind DNAT": {
		scene: func(s *stage, blue uint64) {
			s.Add(in(blue, tuple("198.51.100.1:5000", "203.0.113.1:80")), time.Hour, nginx(9))
		},
		want: [3]any{"?", "?", "?"},
	},
	"of a server behind DNAT": {
		scene: func(s *stage, blue uint64) {
			s.Add(in(blue, tuple("172.17.0.2:80", "192.0.2.9:8000")), time.Hour, nginx(9))
		},
		want: [3]any{"?", "?", "?"},
	},
	"of a client behind masquerading": {
		scene: func(s *stage, blue uint64) {
			s.Add(in(blue, tuple("198.51.100.1:22", "203.0.113.1:80")), time.Hour, nginx(9)) // has the address
		},
		want: [3]any{"?", "?", "?"},
	},
	"of a client of loopback behind DNAT": {
		inside: true,
		scene: func(s *stage, _ uint64) {
			s.listen("127.0.0.1:8000")
			s.Add(tuple("127.0.0.1:5000", "127.0.0.1:80"), time.Hour, nginx(9))
		},
		want: [3]any{"?", "?", "?"},
	},
	"of a server on loopback that is gone, or behind NAT": {
		inside: true,
		scene:  func(*stage, uint64) {},
		want:   [3]any{"?", "?", "?"},
	},
}

func (s *stage) listen(local string) {
	l := tuple(local, "0.0.0.0:0")
	l.State = collectors.Listen
	one := s.Add(l, 0, app(7))
	one.Remote, one.RemotePort = collectors.AddrFrom(netip.IPv4Unspecified()), 0
}

// The process at the other end, if that is on this host: it is known to be none only
// where nothing could hide one.
func TestOtherEnd(t *testing.T) {
	for name, c := range otherEnds {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, engine.Options{})
			s.Containers = containersStage(t, engine.Options{}).Containers
			blue := s.Namespace("blue")
			mine := tuple("192.0.2.9:8000", "198.51.100.1:5000")
			if c.inside {
				mine = tuple("127.0.0.1:8000", "127.0.0.1:5000")
			}
			one := s.Add(mine, time.Hour, app(7))
			c.scene(s, blue)
			r := s.run(s.rules(`port == 8000 and (peer_pid > 0 or peer_container == "" or pid == 7)`, "destroy"))
			got := [3]any{"?", "?", "?"}
			record := s.findingOf(r, one).Record()
			for i, f := range []collectors.Field{collectors.FieldPeerPID, collectors.FieldPeerProcess, collectors.FieldPeerContainer} {
				if v, ok := collectors.Value(f, &record); ok {
					got[i] = v
				}
			}
			if got != c.want {
				t.Errorf("%v, not %v", got, c.want)
			}
		})
	}
}

// Rules that read nothing about the other end do not look for it.
func TestOtherEndUnread(t *testing.T) {
	s := newStage(t, live)
	one := s.Add(tuple("192.0.2.1:8000", "192.0.2.1:5000"), time.Hour, app(7))
	s.Add(tuple("198.51.100.1:5000", "192.0.2.9:8000"), time.Hour, nginx(9))
	r := s.run(s.rules("port == 8000", "destroy"))
	if f := s.findingOf(r, one); f.Facts.Peers != nil || f.Facts.Known.Meets(collectors.PeerFields()) {
		t.Errorf("%+v", f.Facts)
	}
}

// The last look asks again who has the other end.
func TestOtherEndLastLook(t *testing.T) {
	for name, change := range map[string]func(s *stage, other *scripted.Socket){
		"another process has it": func(_ *stage, other *scripted.Socket) { other.Owners[0].Name = "gunicorn" },
		"it is gone":             func(s *stage, other *scripted.Socket) { s.Remove(other) },
		"nobody can tell":        func(s *stage, _ *scripted.Socket) { s.Hidden[9] = true },
		"":                       func(*stage, *scripted.Socket) {},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, live)
			s.deaf()
			one := s.Add(tuple("127.0.0.1:8000", "127.0.0.1:5000"), time.Hour, app(7))
			other := s.Add(tuple("127.0.0.1:5000", "127.0.0.1:8000"), time.Hour, nginx(9))
			text := rule(`port == 8000 and peer_process == "nginx"`, "{signal: TERM, wait: 10s}, {signal: KILL, wait: 5s}")
			s.expectOf(s.cycle(text), one, engine.DecideAct, "", actions.StillRunning)
			change(s, other)
			s.Advance(11 * time.Second)
			s.Step(t.Context())
			if s.Runs(7) == (name == "") {
				t.Errorf("runs: %t, done %+v", s.Runs(7), s.Done)
			}
		})
	}
}
