package engine

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/recording"
	"sockwarden/engine/report"
)

// TestRecordingOfKernel audits this kernel, with sockets of every kind, and a recording that
// was made just before. Ages and timers may differ by the time between the two.
func TestRecordingOfKernel(t *testing.T) {
	l := newLab(t, Options{}).stranger()
	for _, k := range socklab.Kinds() {
		if k.Shown() {
			socklab.Make(t, k, socklab.IPv4)
		}
	}
	p := l.rules(t, `version: 1
rules:
  - {name: tcp, when: 'age >= 0 or state != "LISTEN"', unless: 'port == 1', then: [{destroy: {udp: true}}], limits: {per_cycle: 100}}
  - {name: udp, when: 'protocol == "udp"', then: [{destroy: {udp: true}}]}
  - {name: inbound, when: 'direction == "inbound" or listener_process == "x"', then: [{signal: TERM}]}
  - {name: peer, when: 'peer_process == "" or local_addr_gone', then: [destroy]}
`)
	// Another engine records, with a memory of its own.
	recorder := newLab(t, Options{}).stranger()
	record := func() *recording.Recording {
		made, err := recorder.Record(t.Context(), "all", recording.Options{Cmdline: true})
		must(t, "record", err)
		return made
	}
	for !proveAges(record()) {
		continue
	}
	recorder = newLab(t, Options{}).stranger()
	made := record()
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

	took := l.world.Mono() - made.Mono + made.Looking + 0.2
	was, now := foundBy(live), foundBy(replay)
	if len(was) < len(socklab.Kinds())-1 {
		t.Errorf("%d findings of %d kinds of sockets", len(was), len(socklab.Kinds()))
	}
	for key, f := range was {
		g, ok := now[key]
		if !ok {
			t.Errorf("the recording lacks %s", key)
			continue
		}
		if f.Socket.Info.Retransmits != g.Socket.Info.Retransmits || f.Socket.Retransmits != g.Socket.Retransmits {
			continue // a timer fired in between
		}
		if a, b := math.Abs(f.Facts.Age.Min-g.Facts.Age.Min), math.Abs(f.Facts.Age.Max-g.Facts.Age.Max); f.Facts.Age.Source != g.Facts.Age.Source || a > took || b > took {
			t.Errorf("%s: age %+v, of the recording %+v", key, f.Facts.Age, g.Facts.Age)
		}
		if a, b := namesOf(f), namesOf(g); a != b {
			t.Errorf("%s: known is %s, of the recording %s", key, a, b)
		}
	}
	for key := range now {
		if was[key] == nil {
			t.Errorf("only the recording has %s", key)
		}
	}
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
