package scripted_test

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/news"
	"sockwarden/engine/world"
)

// proxy is a docker-proxy for port 21117 of the host.
func proxy(pid int) collectors.Owner {
	return collectors.Owner{
		PID: pid, Name: "docker-proxy",
		Cmdline: "/usr/bin/docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 21117 -container-ip 172.17.0.2 -container-port 8080",
	}
}

// ports are published ports as an engine reports them.
func ports(all ...string) world.Container {
	c := named("hbbr", "")
	c.PortsKnown = true
	for i := 0; i < len(all); i += 2 {
		p := collectors.Proxy{Protocol: collectors.TCP, Host: netip.MustParseAddrPort(all[i]), Container: netip.MustParseAddrPort(all[i+1])}
		if p.Container.Addr().IsUnspecified() { // in several networks
			p.Container = netip.AddrPortFrom(netip.Addr{}, p.Container.Port())
		}
		c.Ports = append(c.Ports, p)
	}
	return c
}

// What is published, seen from both sides: ? is unknown.
func TestPublished(t *testing.T) {
	const local = "172.17.0.2:8080"
	silent := world.Container{Err: errors.New("the engine does not answer")}
	for name, c := range map[string]struct {
		local  string
		says   world.Container
		owners []collectors.Owner
		want   any
	}{
		"in the container":              {local, ports("0.0.0.0:21117", local), []collectors.Owner{inside(7, "a")}, "21117"},
		"by several ports":              {local, ports("0.0.0.0:31117", local, "127.0.0.1:21117", local, "[::]:21117", local), []collectors.Owner{inside(7, "a")}, "21117,31117"},
		"another port":                  {"172.17.0.2:81", ports("0.0.0.0:21117", local), []collectors.Owner{inside(7, "a")}, ""},
		"another address":               {"172.18.0.2:8080", ports("0.0.0.0:21117", local), []collectors.Owner{inside(7, "a")}, ""},
		"in several networks":           {"172.18.0.2:8080", ports("0.0.0.0:21117", "0.0.0.0:8080"), []collectors.Owner{inside(7, "a")}, "21117"},
		"within the container":          {"127.0.0.1:8080", ports("0.0.0.0:21117", "0.0.0.0:8080"), []collectors.Owner{inside(7, "a")}, ""},
		"the engine is silent":          {local, silent, []collectors.Owner{inside(7, "a")}, "?"},
		"the engine says nothing of it": {local, named("hbbr", ""), []collectors.Owner{inside(7, "a")}, "?"},
		"of docker-proxy":               {"127.0.0.1:21117", silent, []collectors.Owner{proxy(8)}, local},
		"docker-proxy without words":    {"127.0.0.1:21117", silent, []collectors.Owner{{PID: 8, Name: "docker-proxy"}}, "?"},
		"on the host":                   {"127.0.0.1:80", silent, []collectors.Owner{app(9)}, ""},
		"of several that say the same":  {local, ports("0.0.0.0:21117", local), []collectors.Owner{inside(7, "a"), inside(8, "a")}, "21117"},
		"of several":                    {local, ports("0.0.0.0:21117", local), []collectors.Owner{inside(7, "a"), app(8)}, "?"},
		"of nobody":                     {local, ports("0.0.0.0:21117", local), nil, "?"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, engine.Options{})
			s.Containers = map[string]world.Container{inside(7, "a").Cgroup: c.says}
			one := s.Add(tuple(c.local, "203.0.113.9:5000"), time.Hour, c.owners...)
			r := s.run(s.rules(`remote_port == 5000 and (published == "21117" or port > 0)`, "destroy"))
			record := s.findingOf(r, one).Record()
			got, ok := collectors.Value(collectors.FieldPublished, &record)
			if !ok {
				got = "?"
			}
			if got != c.want {
				t.Errorf("%q, not %q", got, c.want)
			}
		})
	}
}

// A published TCP port also leads to MPTCP servers, whose subflows are TCP; not to UDP.
func TestPublishedToMPTCP(t *testing.T) {
	const local = "172.17.0.2:8080"
	for protocol, want := range map[collectors.Protocol]string{collectors.MPTCP: "21117", collectors.TCP: "21117", collectors.UDP: ""} {
		s := newStage(t, engine.Options{})
		s.Containers = map[string]world.Container{inside(7, "a").Cgroup: ports("0.0.0.0:21117", local)}
		socket := tuple(local, "203.0.113.9:5000")
		socket.Protocol, socket.State = protocol, collectors.Established
		one := s.Add(socket, time.Hour, inside(7, "a"))
		r := s.run(s.rules(fmt.Sprintf(`protocol == %q and known(published)`, protocol), "log"))
		if got := s.findingOf(r, one).Facts.Published; got != want {
			t.Errorf("%s: %q, not %q", protocol, got, want)
		}
	}
}

// Where nobody can be asked, the docker-proxy of a port tells.
func TestPublishedByProxy(t *testing.T) {
	s := newStage(t, live)
	s.Containers = map[string]world.Container{inside(7, "a").Cgroup: {Err: errors.New("the engine does not answer")}}
	s.Add(tuple("127.0.0.1:21117", "127.0.0.1:5000"), time.Hour, proxy(8))
	one := s.Add(tuple("172.17.0.2:8080", "172.17.0.1:5000"), time.Hour, inside(7, "a"))
	other := s.Add(tuple("172.17.0.2:8081", "172.17.0.1:5000"), time.Hour, inside(7, "a"))
	s.run(s.rules(`published == "21117"`, "destroy"))
	if s.There(one) || !s.There(other) {
		t.Errorf("done %+v", s.Done)
	}
}

// A finding about docker-proxy names the container behind it, in its reason too;
// docker-proxy itself is protected, and its single connections are only for rules that
// ask for them.
func TestBehindProxy(t *testing.T) {
	s := newStage(t, live)
	s.Behind = map[netip.AddrPort]string{netip.MustParseAddrPort("172.17.0.2:8080"): "docker:hbbr"}
	one := s.Add(tuple("127.0.0.1:21117", "127.0.0.1:5000"), time.Hour, proxy(8))
	s.Add(tuple("127.0.0.1:21117", "127.0.0.1:5001"), time.Hour, proxy(8))
	const when = `published == "172.17.0.2:8080"`
	p := s.rules(when, "destroy")
	r := s.run(p)
	s.expectOf(r, one, engine.DecideGuarded, "protected process docker-proxy for docker:hbbr: needs")
	if got := news.Line(r.Findings[0], "guarded"); got != "guarded: CLOSE_WAIT port 21117 peer 127.0.0.1:5000 docker-proxy[8] for docker:hbbr age 3600s" {
		t.Error(got)
	}
	s.Tell(t.Context(), p, r)
	s.expectOf(s.run(s.rules(when, "{signal: KILL}")), one, engine.DecideGuarded, "protected process docker-proxy for docker:hbbr")
	p = s.rules(when, "{destroy: {protected: true}}")
	r = s.run(p)
	s.Tell(t.Context(), p, r)
	s.expectTally(r, map[engine.Decision]int{engine.DecideAct: 2})
	if lines := s.log.lines("count=2", "leads_to=docker:hbbr"); len(lines) == 0 || !s.Runs(8) && s.There(one) {
		t.Errorf("%q", s.log.lines())
	}
}

// The last look asks again what is published.
func TestPublishedLastLook(t *testing.T) {
	for _, stays := range []bool{true, false} {
		s := newStage(t, live)
		s.deaf()
		group := inside(7, "a").Cgroup
		s.Containers = map[string]world.Container{group: ports("0.0.0.0:21117", "172.17.0.2:8080")}
		one := s.Add(tuple("172.17.0.2:8080", "172.17.0.1:5000"), time.Hour, inside(7, "a"))
		r := s.cycle(rule(`published == "21117"`, "{signal: TERM, wait: 10s}, {signal: KILL, wait: 5s}"))
		if s.findingOf(r, one).Decision != engine.DecideAct {
			t.Fatal(describe(r))
		}
		if !stays {
			s.Containers[group] = ports("0.0.0.0:21118", "172.17.0.2:8080")
		}
		s.Advance(11 * time.Second)
		s.Step(t.Context())
		if s.Runs(7) == stays {
			t.Errorf("stays %t: runs %t, done %+v", stays, s.Runs(7), s.Done)
		}
	}
}
