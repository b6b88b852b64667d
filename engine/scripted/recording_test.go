package scripted_test

import (
	"bytes"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/recording"
	"sockwarden/engine/scripted"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// recorded makes a recording of the stage, and reads it back from its file.
func (s *stage) recorded(netns string, o recording.Options) *recording.Recording {
	s.t.Helper()
	r, err := s.Record(s.t.Context(), netns, o)
	s.must(err)
	var file bytes.Buffer
	s.must(recording.WriteAny(&file, r, true))
	back, err := recording.ReadAny(&file)
	s.must(err)
	return back
}

// replay opens an engine on a recording, with the same actions.
func (s *stage) replay(r *recording.Recording) *engine.Engine {
	s.t.Helper()
	o := s.opened
	o.Live, o.From, o.Logger = false, r.World(), s.log.logger()
	e, err := engine.New(o)
	s.must(err)
	s.t.Cleanup(e.Close)
	return e
}

// told is all that a report says about sockets and errors.
func told(r *engine.Report) []string {
	var all []string
	for _, f := range r.Findings {
		text := fmt.Sprintf("%s %s %q %v", f.Rule.Name, f.Decision, f.Reason, f.Actions)
		if !f.NoSocket() {
			record := f.Record()
			text += fmt.Sprint(collectors.Map(&record), f.Facts.Age, f.Hidden)
		}
		if f.Group != nil {
			text += fmt.Sprint(f.Group.Key, f.Group.Facts)
		}
		all = append(all, text)
	}
	slices.Sort(all)
	for _, err := range r.Errors {
		all = append(all, "error: "+err.Error())
	}
	return append(all, fmt.Sprintf("%+v", r.Summary))
}

// without is what one has and the other has not.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(text string) bool { return slices.Contains(b, text) })
}

// agrees audits the world and a recording of this moment, and compares.
func (s *stage) agrees(p *rules.Program) {
	s.t.Helper()
	r := s.recorded(strings.Join(p.NetNS, ","), recording.Options{Cmdline: true})
	replay := s.replay(r)
	was, err := s.Look(s.t.Context(), p)
	s.must(err)
	now, err := replay.Look(s.t.Context(), p)
	s.must(err)
	a, b := told(was), told(now)
	if !slices.Equal(a, b) {
		s.t.Errorf("audit of the world:\n  %s\naudit of its recording:\n  %s", strings.Join(without(a, b), "\n  "), strings.Join(without(b, a), "\n  "))
	}
	if len(was.Findings) == 0 {
		s.t.Error("nothing was found: it compares nothing")
	}
}

// everyKind has rules that read facts of every kind.
const everyKind = `rules:
  - {name: every, when: 'age > 10', then: [{destroy: {listen: true, udp: true}}], limits: {per_cycle: 4}}
  - {name: close-wait, when: 'state == "CLOSE_WAIT" && process == "app"', then: [{signal: TERM}]}
  - {name: owners, when: 'owners > 1', then: [destroy]}
  - {name: inside, when: 'container == "web" && state == "ESTABLISHED"', then: [restart]}
  - {name: inbound, when: 'direction == "inbound" && listener_process == "app"', then: [{signal: TERM}]}
  - {name: peer, when: 'peer_process == "client"', then: [destroy]}
  - {name: udp, when: 'protocol == "udp"', then: [{destroy: {udp: true}}]}
  - {name: mptcp, when: 'protocol == "mptcp"', then: [destroy]}
  - {name: gone, when: 'local_addr_gone', then: [destroy]}
  - {name: many, when: 'state == "ESTABLISHED"', group: pid, having: count > 1, then: [log]}
`

// TestRecordingAgrees audits a host and its recording.
func TestRecordingAgrees(t *testing.T) {
	for _, events := range []engine.EventSource{engine.EventsOn, engine.EventsOff} {
		t.Run(string(events), func(t *testing.T) {
			s := newStage(t, engine.Options{Events: events})
			furnish(s)
			s.agrees(s.file(everyKind))
			s.Advance(3 * time.Second)
			s.agrees(s.file("defaults: {breaker: {count: 2}}\n" + everyKind))
		})
	}
}

// furnish adds sockets of every kind.
func furnish(s *stage) {
	app, other, client := collectors.Owner{PID: 7, Name: "app"}, collectors.Owner{PID: 8, Name: "other"}, collectors.Owner{PID: 9, Name: "client", UID: 3}
	web := collectors.Owner{PID: 20, Name: "nginx", Container: strings.Repeat("ab", 32), Cgroup: "/docker/" + strings.Repeat("ab", 32)}
	s.Containers = map[string]world.Container{web.Cgroup: {
		ContainerNames: collectors.ContainerNames{Engine: "docker", ContainerName: "web", Image: "nginx:1"},
		Known:          collectors.ContainerFields(), PortsKnown: true,
		Ports: []collectors.Proxy{{Protocol: collectors.TCP, Host: netip.MustParseAddrPort("0.0.0.0:8080"), Container: netip.MustParseAddrPort("192.0.2.1:80")}},
	}}
	for state := collectors.Established; state <= collectors.Closing; state++ {
		s.Add(collectors.Socket{State: state, LocalPort: 100 + uint16(state)}, time.Duration(state)*10*time.Second, app)
		s.Add(collectors.Socket{State: state, LocalPort: 200 + uint16(state), Family: collectors.IPv6}, time.Minute)
	}
	s.Add(collectors.Socket{State: collectors.Listen, LocalPort: 100 + uint16(collectors.Established), RecvQueue: 2}, time.Hour, app)
	s.Add(collectors.Socket{State: collectors.Established, LocalPort: 300}, time.Hour, app, other, client)
	s.Add(collectors.Socket{State: collectors.Established, LocalPort: 301}, time.Hour, web)
	s.Add(collectors.Socket{State: collectors.CloseWait, LocalPort: 302}, time.Hour, collectors.Owner{PID: 30, Name: "hidden"})
	s.Hidden[30] = true
	s.Add(collectors.Socket{Protocol: collectors.UDP, State: collectors.Close, LocalPort: 53}, time.Hour, other)
	s.Add(collectors.Socket{Protocol: collectors.MPTCP, State: collectors.Established, LocalPort: 303, Token: 0xbeef}, time.Hour, app)
	a := s.Add(collectors.Socket{State: collectors.Established, LocalPort: 304, RemotePort: 305}, time.Hour, app)
	s.Add(collectors.Socket{State: collectors.Established, Local: a.Remote, Remote: a.Local, LocalPort: 305, RemotePort: 304}, time.Hour, client)
	gone := netip.MustParseAddr("192.0.2.9")
	s.Add(collectors.Socket{State: collectors.Established, Local: collectors.AddrFrom(gone), LocalPort: 306, Options: collectors.SockOptions{Shown: true}}, time.Hour, app)
	s.Left = append(s.Left, gone)
}

// TestAnonymised checks that a recording with other names and addresses is judged alike, and
// that nothing in it tells the real ones.
func TestAnonymised(t *testing.T) {
	s := newStage(t, engine.Options{})
	furnish(s)
	p := s.file(strings.ReplaceAll(everyKind, `container == "web"`, `container != ""`))
	s.run(p)
	r := s.recorded("host", recording.Options{Selection: "port 300", Cmdline: true})
	decided := func() []string {
		report, err := s.replay(r).Look(t.Context(), p)
		s.must(err)
		var all []string
		for _, f := range report.Findings {
			all = append(all, fmt.Sprintf("%s %d/%d %s %s %v", f.Rule.Name, f.Socket.LocalPort, f.Socket.RemotePort, f.Decision, f.Reason, f.Actions))
		}
		slices.Sort(all)
		return all
	}
	before := decided()
	r.Anonymise()
	if after := decided(); !slices.Equal(before, after) || len(before) == 0 {
		t.Errorf("before:\n  %s\nafter:\n  %s", strings.Join(without(before, after), "\n  "), strings.Join(without(after, before), "\n  "))
	}
	var file bytes.Buffer
	s.must(r.Write(&file))
	for _, real := range []string{"192.0.2.1", "198.51.100.1", scripted.Host, strings.Repeat("ab", 32), "nginx:1", `"web"`} {
		// Random addresses can go on where a real one ends.
		if regexp.MustCompile(regexp.QuoteMeta(real) + `(\D|$)`).MatchString(file.String()) {
			t.Errorf("it tells %s:\n%s", real, &file)
		}
	}
	if _, err := recording.Read(&file); err != nil {
		t.Error(err)
	}
}
