package engine

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/recording"
	"sockwarden/engine/report"
	"sockwarden/rules"
)

// recordedRules read facts of every kind.
const recordedRules = `version: 1
rules:
  - {name: tcp, when: 'age >= 0 or state != "LISTEN"', unless: 'port == 1', then: [{destroy: {udp: true}}], limits: {per_cycle: 100}}
  - {name: udp, when: 'protocol == "udp"', then: [{destroy: {udp: true}}]}
  - {name: mptcp, when: 'protocol == "mptcp"', then: [abort]}
  - {name: inbound, when: 'direction == "inbound" or listener_process == "x"', then: [{signal: TERM}]}
  - {name: peer, when: 'peer_process == "" or local_addr_gone', then: [destroy]}
  - {name: shared, when: 'owners > 1 and age > 0', then: [{signal: {signal: TERM, owners: all}}]}
  - {name: unknown, when: 'process != "x" and state == "CLOSE_WAIT"', then: [{signal: TERM}]}
`

// TestRecordingOfKernel audits this kernel, with sockets of every kind, and a recording that
// was made just before, by an engine with a memory of its own.
func TestRecordingOfKernel(t *testing.T) {
	madeOfAll(t)
	fresh := func() *lab { return newLab(t, Options{Events: EventsOff}).stranger() }
	found := agreeWithRecording(t, fresh().rules(t, recordedRules), func() (recorder, looker *lab) { return fresh(), fresh() })
	if len(found) < len(socklab.Kinds())-1 {
		t.Errorf("%d findings of %d kinds of sockets", len(found), len(socklab.Kinds()))
	}
	mptcp, shared := false, false
	for _, f := range found {
		mptcp = mptcp || f.Socket.Protocol == collectors.MPTCP
		shared = shared || len(f.Facts.Owners) > 1
	}
	if !mptcp || !shared {
		t.Errorf("MPTCP %t, several owners %t", mptcp, shared)
	}
}

// TestRecordingOfEvents is the same with an engine that has seen the sockets enter their
// states: the recording knows these moments, too.
func TestRecordingOfEvents(t *testing.T) {
	l := newLab(t, Options{Events: EventsOn}).stranger()
	p := l.rules(t, recordedRules)
	if _, err := l.Look(t.Context(), p); err != nil { // from now on it sees changes
		t.Fatal(err)
	}
	madeOfAll(t)
	events := 0
	for _, f := range agreeWithRecording(t, p, func() (recorder, looker *lab) { return l, l }) {
		if f.Facts.Age.Source == collectors.AgeEvent {
			events++
		}
	}
	if events < 5 {
		t.Errorf("%d ages by events", events)
	}
}

// TestRecordingOfHiddenOwners is the same for a user who may not look at the processes that
// have the sockets: the recording says so, too.
func TestRecordingOfHiddenOwners(t *testing.T) {
	var conns []*socklab.Conn
	if socklab.IsNobody() { // still as the user of the test
		conns = []*socklab.Conn{socklab.Make(t, socklab.CloseWait, socklab.IPv4), socklab.Make(t, socklab.Established, socklab.IPv6)}
		share(t, nil, conns...)
	}
	socklab.AsNobody(t, func() {
		l := newLab(t, Options{Events: EventsOff}).stranger()
		p, err := rules.NewSelection(rules.Selection{
			Name: "r", Text: `(state == "CLOSE_WAIT" or state == "ESTABLISHED") and age >= 0`, Mode: rules.ModeEnforce, NetNS: "host", Then: []rules.Rung{l.rung(t, "destroy")},
		})
		must(t, "rules", err)
		found := agreeWithRecording(t, p, func() (recorder, looker *lab) { return l, l })
		for _, c := range conns {
			if !slices.ContainsFunc(slices.Collect(maps.Values(found)), func(f *report.Finding) bool { return f.Socket.LocalPort == c.Local.Port() && f.Hidden != "" }) {
				t.Errorf("the owners of %s are not hidden", c.Kind)
			}
		}
	})
}

// madeOfAll makes sockets of every kind: one with several owners, and one of MPTCP.
func madeOfAll(t *testing.T) {
	t.Helper()
	for _, k := range socklab.Kinds() {
		if k.Shown() {
			socklab.Make(t, k, socklab.IPv4)
		}
	}
	holder(t, socklab.Make(t, socklab.CloseWait, socklab.IPv6), socklab.Make(t, socklab.Established, socklab.IPv4))
	socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{socklab.Make(t, socklab.CloseWait, socklab.IPv4)}, Keep: true})
	socklab.ListenMPTCP(t, socklab.Home(t), socklab.IPv4).Dial(t)
}

// agreeWithRecording makes a recording, lets an engine look just after, and compares what that
// finds with what the recording says. Ages and timers may differ by the time between the two,
// and if a timer fires in between, all that its evidence proves: then it tries again, with
// other engines. It returns what was found.
func agreeWithRecording(t *testing.T, p *rules.Program, engines func() (recorder, looker *lab)) map[string]*report.Finding {
	t.Helper()
	const tries = 10
	for i := range tries {
		recorder, looker := engines()
		found, differences := compareWithRecording(t, p, recorder, looker)
		if len(differences) == 0 {
			return found
		}
		if i == tries-1 {
			t.Errorf("%s", strings.Join(differences, "\n"))
		}
	}
	return nil
}

func compareWithRecording(t *testing.T, p *rules.Program, recorder, l *lab) (was map[string]*report.Finding, differences []string) {
	t.Helper()
	var made *recording.Recording
	for made == nil || !proveAges(made) {
		var err error
		made, err = recorder.Record(t.Context(), "all", recording.Options{Cmdline: true})
		must(t, "record", err)
	}
	live, err := l.Look(t.Context(), p)
	must(t, "look", err)
	var file bytes.Buffer
	must(t, "write", made.Write(&file))
	back, err := recording.Read(&file)
	must(t, "read", err)
	e, err := New(Options{From: back.World(), Logger: l.log})
	must(t, "engine", err)
	defer e.Close()
	replay, err := e.Look(t.Context(), p)
	must(t, "replay", err)

	differ := func(format string, args ...any) { differences = append(differences, fmt.Sprintf(format, args...)) }
	took := l.world.Mono() - made.Mono + made.Looking + 0.2
	now := foundBy(replay)
	was = foundBy(live)
	for key, f := range was {
		g, ok := now[key]
		if !ok {
			differ("the recording lacks %s", key)
			continue
		}
		if f.Socket.Info.Retransmits != g.Socket.Info.Retransmits || f.Socket.Retransmits != g.Socket.Retransmits {
			continue // a timer fired in between
		}
		if a, b := math.Abs(f.Facts.Age.Min-g.Facts.Age.Min), math.Abs(f.Facts.Age.Max-g.Facts.Age.Max); f.Facts.Age.Source != g.Facts.Age.Source || a > took || b > took {
			differ("%s: age %+v, of the recording %+v", key, f.Facts.Age, g.Facts.Age)
		}
		if a, b := namesOf(f), namesOf(g); a != b {
			differ("%s: known is %s, of the recording %s", key, a, b)
		}
	}
	for key := range now {
		if was[key] == nil {
			differ("only the recording has %s", key)
		}
	}
	return was, differences
}

// proveAges reports whether all stamps are old enough to prove an age.
func proveAges(r *recording.Recording) bool {
	const enough = 300 // milliseconds; stamps can be off by 100
	return !slices.ContainsFunc(r.Sockets, func(s recording.Socket) bool {
		return s.Known.Has(collectors.FieldAckIdle) && s.Info.LastAckRecv < enough
	})
}

// foundBy has the findings by what they say and about which socket.
func foundBy(r *report.Report) map[string]*report.Finding {
	found := map[string]*report.Finding{}
	for _, f := range r.Findings {
		acts := fmt.Sprint(f.Decision)
		for _, a := range f.Actions {
			acts += " " + a.Action
		}
		found[fmt.Sprintf("%s %x %s %q %s %s", f.Rule.Name, f.Socket.Cookie, f.Socket.State, f.Reason, acts, f.Hidden)] = f
	}
	return found
}

// namesOf are the fields that are known of a finding, and the values of those that do not
// change.
func namesOf(f *report.Finding) string {
	r := f.Record()
	var all []string
	for field := range r.Known.Each {
		text := field.String()
		if v, _ := collectors.Value(field, &r); field.Doc().Type != collectors.TypeSeconds && field != collectors.FieldFDs {
			text += fmt.Sprintf("=%v", v)
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}
