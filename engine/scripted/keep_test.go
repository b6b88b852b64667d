package scripted_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/scripted"
)

// come adds connections of one peer, one a second: the first is the oldest.
func (s *stage) come(n int, owners ...collectors.Owner) (all []*scripted.Socket) {
	for range n {
		all = append(all, s.Add(collectors.Socket{State: collectors.Established}, 0, owners...))
		s.Advance(time.Second)
	}
	return all
}

// taken are the places of the sockets that a report acts on.
func taken(r *engine.Report, all []*scripted.Socket) (places []int) {
	for i, c := range all {
		if slices.ContainsFunc(findingsOf(r, c), func(f *engine.Finding) bool { return f.Decision == engine.DecideAct }) {
			places = append(places, i)
		}
	}
	return places
}

const established = `state == "ESTABLISHED"`

func keepRule(more ...string) string {
	return rule(established, "destroy", append([]string{"group: remote_addr"}, more...)...)
}

// Only sockets beyond the number are acted on: the newest or, by order, the oldest. Those
// kept are not findings, and are free for later rules.
func TestKeep(t *testing.T) {
	for more, want := range map[string][]int{
		"keep: 4":                               {4, 5, 6},
		"keep: 4\n    order: oldest":            {4, 5, 6},
		"keep: 4\n    order: newest":            {0, 1, 2},
		"keep: 7":                               nil,
		"keep: 100":                             nil,
		"keep: 4\n    having: count > 6":        {4, 5, 6},
		"keep: 4\n    having: count > 7":        nil,
		"keep: 4\n    limits: {per_cycle: 2}":   {4, 5},
		"keep: 6\n    unless: remote_port == 1": {6},
	} {
		t.Run(more, func(t *testing.T) {
			s := newStage(t, live)
			all := s.come(7, app(7))
			other := s.Add(collectors.Socket{State: collectors.Established, Remote: collectors.Addr{10: 0xff, 11: 0xff, 12: 9}}, 0, app(7))
			s.Advance(2 * time.Second)
			r := s.run(s.file(keepRule(more) + "  - {name: later, when: 'state == \"ESTABLISHED\"', mode: observe}\n"))
			s.noErrors(r)
			if got := taken(r, all); !slices.Equal(got, want) {
				t.Errorf("%v, not %v\n%s", got, want, describe(r))
			}
			for i, c := range all {
				if there := s.There(c); there == slices.Contains(want, i) {
					t.Errorf("%d is there: %t", i, there)
				}
				if n := len(findingsOf(r, c)); !slices.Contains(want, i) && !strings.Contains(more, "per_cycle") && n != 1 {
					t.Errorf("%d has %d findings", i, n)
				}
			}
			if !s.There(other) {
				t.Error("the only one of another peer is gone")
			}
		})
	}
}

// An event tells when a socket entered its state, whenever it was made or first seen.
func TestKeepByEvents(t *testing.T) {
	s := newStage(t, engine.Options{})
	all := s.come(5, app(7))
	s.Enter(all[0], collectors.Established) // again
	s.Advance(2 * time.Second)
	if r := s.run(s.file(keepRule("keep: 3"))); !slices.Equal(taken(r, all), []int{0, 4}) {
		t.Errorf("%v\n%s", taken(r, all), describe(r))
	}
}

// Sockets that something spares stay anyway, and count as kept.
func TestSparedCountAsKept(t *testing.T) {
	for name, test := range map[string]struct {
		more, protect string
		want          []int
	}{
		"nothing":       {"keep: 3", "", []int{3, 4, 5}},
		"unless":        {"keep: 3\n    unless: remote_port in [NEWEST]", "", []int{2, 3}},
		"protect":       {"keep: 3", "remote_port in [NEWEST]", []int{2, 3}},
		"more than all": {"keep: 1", "remote_port in [NEWEST]", []int{0, 1, 2, 3}},
		"cannot tell":   {"keep: 3\n    unless: user == \"nobody\" and remote_port in [NEWEST]", "", []int{1, 2, 3}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, engine.Options{})
			all := s.come(6, app(7))
			newest := fmt.Sprint(all[4].RemotePort)
			if name != "unless" && name != "protect" {
				newest += ", " + fmt.Sprint(all[5].RemotePort)
			} else {
				s.Remove(all[5])
			}
			text := strings.ReplaceAll(keepRule(test.more), "NEWEST", newest)
			if test.protect != "" {
				text += "protect: [{name: p, when: '" + strings.ReplaceAll(test.protect, "NEWEST", newest) + "'}]\n"
			}
			s.Advance(2 * time.Second)
			if r := s.run(s.file(text)); !slices.Equal(taken(r, all), test.want) {
				t.Errorf("%v, not %v\n%s", taken(r, all), test.want, describe(r))
			}
		})
	}
	// A guard, such as a protected process.
	s := newStage(t, engine.Options{})
	all := append(s.come(2, collectors.Owner{PID: 9, Name: "sshd"}), s.come(3, app(7))...)
	s.Advance(2 * time.Second)
	if r := s.run(s.file(keepRule("keep: 3"))); !slices.Equal(taken(r, all), []int{3, 4}) {
		t.Errorf("%v\n%s", taken(r, all), describe(r))
	}
}

// Without events, sockets are ordered by when they were first seen. One that was seen
// only once has no place in the order: it is not acted on and does not displace another.
// Sockets first seen by the same look keep one order.
func TestKeepWithoutEvents(t *testing.T) {
	off := engine.Options{Events: engine.EventsOff, StateFile: newStage(t, live).state()}
	s := newStage(t, off)
	watching := func() *engine.Report { return s.run(s.file(keepRule("keep: 3"))) }
	first := s.come(4, app(7))
	p := s.file(keepRule("keep: 3"))
	r, err := s.Cycle(t.Context(), p) // it looks twice by itself
	s.must(err)
	if got := taken(r, first); !slices.Equal(got, []int{3}) {
		t.Errorf("of one look: %v", got)
	}
	s.Remove(first[1])
	second := s.come(3, app(7))
	for range 3 {
		all := slices.Concat(first, second)
		if got := taken(watching(), all); !slices.Equal(got, []int{4, 5, 6}) {
			t.Errorf("of the second look: %v", got)
		}
		s.Advance(5 * time.Second)
		s.restart(off) // what was seen lasts
	}
}

// Sockets that may belong to the group, or have no known key, are left alone and displace
// no other.
func TestKeepUncertain(t *testing.T) {
	s := newStage(t, engine.Options{})
	unsure := s.come(3, app(7))
	all := s.come(4, app(7))
	s.Advance(2 * time.Second)
	when := fmt.Sprintf(`%s and (remote_port >= %d or user == "nobody")`, established, all[0].RemotePort)
	r := s.run(s.file(rule(when, "destroy", "group: remote_addr", "keep: 3")))
	if got := taken(r, slices.Concat(all, unsure)); !slices.Equal(got, []int{3}) {
		t.Errorf("%v\n%s", got, describe(r))
	}
	if got := keyless(s); len(got) != 0 {
		t.Errorf("of an unknown process: %v", got)
	}
}

// keyless are the sockets that a rule by process takes when nobody can tell the process.
func keyless(s *stage) []int {
	hidden := s.come(3, collectors.Owner{PID: 8, Name: "web"})
	s.Hidden[8] = true
	s.Advance(2 * time.Second)
	return taken(s.run(s.file(rule(established, "destroy", "group: pid", "keep: 1", "unless: pid == 7"))), hidden)
}

// The group is counted again before each effect: what is no longer beyond stays.
func TestKeepIsCountedAgain(t *testing.T) {
	s := newStage(t, live)
	all := s.come(5, app(7))
	s.Advance(2 * time.Second)
	p := s.file(keepRule("keep: 3"))
	looked, err := s.Look(t.Context(), p)
	s.must(err)
	if got := taken(looked, all); !slices.Equal(got, []int{3, 4}) {
		t.Fatalf("%v", got)
	}
	s.Remove(all[0])
	s.Advance(time.Second)
	r := s.Act(t.Context(), p, looked)
	s.Finish(t.Context(), r)
	s.expectOf(r, all[3], engine.DecideAct, "beyond keep: 3, order: oldest", actions.Changed)
	s.expectOf(r, all[4], engine.DecideAct, "beyond keep: 3, order: oldest", actions.Gone)
	if why := s.findingOf(r, all[3]).Actions[0].Detail; why != "kept by keep: 3, order: oldest; its group has 4, and 1 are beyond" {
		t.Error(why)
	}
	// With nothing beyond, the group no longer exists.
	looked, err = s.Look(t.Context(), s.file(keepRule("keep: 2")))
	s.must(err)
	s.Remove(all[1])
	s.Advance(time.Second)
	r = s.Act(t.Context(), p, looked)
	s.Finish(t.Context(), r)
	for _, c := range all[2:4] {
		if !s.There(c) {
			t.Errorf("gone:\n%s", describe(r))
		}
	}
}

// for counts from when something is beyond.
func TestKeepFor(t *testing.T) {
	s := newStage(t, live)
	all := s.come(3, app(7))
	s.Advance(2 * time.Second)
	p := s.file(keepRule("keep: 3", "for: 10s"))
	if r := s.run(p); len(r.Findings) != 0 {
		t.Errorf("nothing is beyond:\n%s", describe(r))
	}
	s.Advance(20 * time.Second)
	all = append(all, s.come(1, app(7))...)
	s.Advance(2 * time.Second)
	s.expectOf(s.run(p), all[3], engine.DecidePending, "r for 10s")
	s.Advance(11 * time.Second)
	s.expectOf(s.run(p), all[3], engine.DecideAct, "", actions.Gone)
}

// JSON and explain say how many are kept and beyond, and why one was not taken.
func TestKeepIsSaid(t *testing.T) {
	s := newStage(t, engine.Options{})
	all := s.come(5, app(7))
	s.Advance(2 * time.Second)
	p := s.file(keepRule("keep: 3"))
	groups := s.groupsOf(s.run(p))
	if len(groups) != 1 || groups[0]["count"] != float64(5) || groups[0]["keep"] != float64(3) || groups[0]["beyond"] != float64(2) {
		t.Errorf("groups %v", groups)
	}
	x := s.explained(p, peers(all[1]))
	v := x.Sockets[0].Verdicts[0]
	const kept = "kept by keep: 3, order: oldest; its group has 5, and 2 are beyond"
	if v.Decision != "none" || v.Reason != kept {
		t.Errorf("%s %q", v.Decision, v.Reason)
	}
	b, err := json.Marshal(x.All())
	s.must(err)
	if !strings.Contains(string(b), `{"gate":"keep","spares":true,"reason":"`+kept+`"}`) || strings.Contains(string(b), `"having":{`) {
		t.Error(string(b))
	}
}
