package scripted_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/memory"
)

// kept is the content of a state file.
func (s *stage) kept(path string) (doc memory.StateDoc) {
	s.t.Helper()
	b, err := os.ReadFile(path)
	s.must(err)
	s.must(json.Unmarshal(b, &doc))
	return doc
}

// A rule only observes for its soak after it appeared and after it changed, not after a
// reload that leaves it as it is.
func TestSoak(t *testing.T) {
	keep := keeper()
	s := newStage(t, live, keep)
	c := s.sockets(1, collectors.Established, time.Hour, 7)[0]
	text := func(more string) string {
		return rule(peers(c)+more, "keep", "soak: 10m", "limits: {cooldown: 0}")
	}
	for _, more := range []string{"", " && port > 0", ""} { // going back to the first text is a change too
		r := s.run(s.file(text(more)))
		s.expectOf(r, c, engine.DecideSoak, "soak of r, 10m left")
		if r.Summary.Observed != 1 || len(keep.Prepared) != 0 {
			t.Errorf("%d prepared, summary %+v", len(keep.Prepared), r.Summary)
		}
		s.Advance(10*time.Minute - time.Second)
		s.expectOf(s.run(s.file(text(more))), c, engine.DecideSoak, "soak of r, 1s left")
		s.Advance(time.Second)
		s.expectOf(s.run(s.file(text(more))), c, engine.DecideAct, "", actions.Refused)
		keep.Prepared = nil
	}
	// A rule that was absent for one generation is new.
	s.run(s.file(strings.Replace(text(""), "name: r", "name: other", 1)))
	s.expectOf(s.run(s.file(text(""))), c, engine.DecideSoak, "soak of r")
}

// The soak goes on in the next engine, whatever a dry run with other rules recorded in
// between.
func TestSoakSurvives(t *testing.T) {
	s := newStage(t, engine.Options{}, keeper())
	path := s.state()
	acting := engine.Options{Live: true, StateFile: path}
	c := s.sockets(1, collectors.Established, time.Hour, 7)[0]
	text := rule(peers(c), "keep", "soak: 1h")
	s.restart(acting)
	s.expectOf(s.run(s.file(text)), c, engine.DecideSoak, "soak of r, 1h")
	s.Close()
	since := s.kept(path).Rules["r"]
	if since.Since <= 0 {
		t.Fatalf("since %+v", since)
	}
	s.Advance(10 * time.Minute)
	s.open(engine.Options{StateFile: path})
	for _, other := range []string{rule("port > 1", "keep", "soak: 1h"), strings.Replace(text, "name: r", "name: other", 1)} {
		s.noErrors(s.run(s.file(other)))
	}
	s.restart(acting)
	s.expectOf(s.run(s.file(text)), c, engine.DecideSoak, "soak of r, 50m left")
	if now := s.kept(path).Rules["r"]; now != since {
		t.Errorf("since %+v, was %+v", now, since)
	}
	// It is over an hour after that time, not an hour after this engine began.
	s.Advance(50 * time.Minute)
	s.expectOf(s.run(s.file(text)), c, engine.DecideAct, "", actions.Refused)
	s.Close()
	// A start set back in time does not complete the soak.
	b, err := os.ReadFile(path)
	s.must(err)
	early := strings.Replace(string(b), fmt.Sprintf(`"since":%v}`, int(since.Since)), `"since":-3600}`, 1)
	if early == string(b) {
		t.Fatalf("no such time in %s", b)
	}
	s.must(os.WriteFile(path, []byte(early), 0o600))
	s.open(engine.Options{StateFile: path})
	s.expectOf(s.run(s.file(text)), c, engine.DecideSoak, "soak of r, 1h left")
}

// Of many sockets a canary takes about its share, and the same ones in every cycle.
func TestCanary(t *testing.T) {
	s := newStage(t, engine.Options{NoBreaker: true}, keeper())
	s.sockets(400, collectors.Established, time.Hour, 7)
	taken := func(s *stage, share, name string) map[uint64]bool {
		p := s.file(strings.Replace(rule(`state == "ESTABLISHED"`, "keep", "canary: "+share, "limits: {per_cycle: 1000}"), "name: r", "name: "+name, 1))
		cookies := map[uint64]bool{}
		for _, f := range s.run(p).Findings {
			switch f.Decision {
			case engine.DecideAct:
				cookies[f.Socket.Cookie] = true
			case engine.DecideCanary:
				if want := "not in the canary part (" + share + ") of " + name; f.Reason != want {
					t.Fatalf("reason %q, want %q", f.Reason, want)
				}
			default:
				t.Fatal(line(f))
			}
		}
		return cookies
	}
	fifth := taken(s, "20%", "a")
	// 80 are expected, and 5 times the standard deviation is 40.
	if n := len(fifth); n < 40 || n > 120 {
		t.Errorf("20%% are %d of 400", n)
	}
	if again := taken(s, "20%", "a"); !maps.Equal(again, fifth) {
		t.Error("the next cycle takes others")
	}
	if again := taken(s.beside(engine.Options{NoBreaker: true}), "20%", "a"); !maps.Equal(again, fifth) {
		t.Error("another engine takes others")
	}
	if other := taken(s, "20%", "b"); maps.Equal(other, fifth) {
		t.Error("another rule takes the same")
	}
	more := taken(s, "60%", "a")
	for cookie := range fifth {
		if !more[cookie] {
			t.Error("a larger part leaves some of the smaller one out")
			break
		}
	}
	if n := len(taken(s, "100%", "a")); n != 400 {
		t.Errorf("100%% are %d of 400", n)
	}
}

// The canary of an action on processes draws lots for processes: otherwise each of many
// sockets would draw one for its process.
func TestCanaryOfProcesses(t *testing.T) {
	const holders, each = 12, 6
	s := newStage(t, engine.Options{NoBreaker: true})
	for pid := 1; pid <= holders; pid++ {
		s.sockets(each, collectors.CloseWait, time.Hour, 100+pid)
	}
	r := s.run(s.rules(closeWait, "{signal: TERM}", "canary: 50%"))
	first, n := map[int]engine.Decision{}, map[engine.Decision]int{}
	for _, f := range r.Findings {
		pid := f.Facts.Owners[0].PID
		if was, ok := first[pid]; ok && was != f.Decision {
			t.Errorf("sockets of one process: %s and %s", was, f.Decision)
		} else if !ok {
			first[pid] = f.Decision
			n[f.Decision]++
		}
	}
	if len(r.Findings) != holders*each || n[engine.DecideAct]+n[engine.DecideCanary] != holders || n[engine.DecideAct] == 0 || n[engine.DecideCanary] == 0 {
		t.Errorf("%d findings, decisions on processes: %v", len(r.Findings), n)
	}
}

// Outside its windows a rule only says what it would take, and protection holds only in
// its windows.
func TestWindows(t *testing.T) {
	s := newStage(t, live, keeper())
	c := s.sockets(1, collectors.Established, time.Hour, 7)[0]
	const in, out = `during: ["10:00-14:00"]`, `during: ["14:00-16:00"]`
	f := func(text string) *engine.Finding { return s.findingOf(s.run(s.file(text)), c) }
	s.expectFinding(f(rule(peers(c), "keep", out, "limits: {cooldown: 0}")), engine.DecideWindow, "outside of the windows of r: 14:00-16:00 UTC")
	s.expectFinding(f(rule(peers(c), "keep", in, "limits: {cooldown: 0}")), engine.DecideAct, "", actions.Refused)
	for _, when := range []string{"", "when: port > 0, "} {
		s.expectFinding(f("protect: [{name: night, "+when+in+"}]\n"+rule(peers(c), "keep", "limits: {cooldown: 0}")), engine.DecideProtect, "protect night")
		s.expectFinding(f("protect: [{name: night, "+when+out+"}]\n"+rule(peers(c), "keep", "limits: {cooldown: 0}")), engine.DecideAct, "", actions.Refused)
	}
	// The first rule owns the socket even outside its windows: no later rule gets round
	// them.
	p := s.file(rule(peers(c), "keep", out) + "  - {name: later, when: '" + peers(c) + "', then: [keep]}\n")
	if got := decisions(s.run(p), c); got != "r window, later shadowed" {
		t.Error(got)
	}
}

// per_minute counts what a rule acted on in earlier cycles, even across a restart.
func TestPerMinute(t *testing.T) {
	for _, then := range []string{"keep", `log, {keep: {udp: true}, if: result == "done"}`, "keep, {keep: {udp: true}}"} {
		t.Run(then, func(t *testing.T) {
			s := newStage(t, engine.Options{}, keeper())
			all := s.leak(5, time.Hour)
			text := func(n int) string { return rule(peers(all[:n]...), then, "limits: {per_minute: 3, cooldown: 0}") }
			for range 2 { // what is not done does not count
				s.expectTally(s.run(s.file(text(5))), map[engine.Decision]int{engine.DecideAct: 3, engine.DecideLimited: 2})
			}
			path := s.state()
			acting := engine.Options{Live: true, StateFile: path}
			s.restart(acting)
			s.expectTally(s.run(s.file(text(2))), map[engine.Decision]int{engine.DecideAct: 2})
			s.Advance(30 * time.Second)
			r := s.run(s.file(text(5)))
			s.expectTally(r, map[engine.Decision]int{engine.DecideAct: 1, engine.DecideLimited: 4})
			oldestFirst(t, r)
			for _, f := range r.Findings[1:] {
				s.expectFinding(f, engine.DecideLimited, "per_minute 3 reached")
			}
			if n := len(s.kept(path).Acts["r"]); n != 3 {
				t.Fatalf("%d targets count, not 3", n) // not their rungs
			}
			s.restart(acting)
			s.expectTally(s.run(s.file(text(5))), map[engine.Decision]int{engine.DecideLimited: 5})
			// Two of them were a minute ago.
			s.Advance(30 * time.Second)
			s.expectTally(s.run(s.file(text(5))), map[engine.Decision]int{engine.DecideAct: 2, engine.DecideLimited: 3})
			// Another rule has a count of its own.
			other := strings.Replace(text(5), "name: r", "name: other", 1)
			s.expectTally(s.run(s.file(other)), map[engine.Decision]int{engine.DecideAct: 3, engine.DecideLimited: 2})
		})
	}
}

// oldestFirst checks that the sockets acted on are older than those spared.
func oldestFirst(t *testing.T, r *engine.Report) {
	t.Helper()
	for i, f := range r.Findings {
		if i > 0 && f.Facts.Age.Min > r.Findings[i-1].Facts.Age.Min {
			t.Errorf("%s is behind a younger one", line(f))
		}
		if i > 0 && f.Decision == engine.DecideAct && r.Findings[i-1].Decision == engine.DecideLimited {
			t.Errorf("%s, and an older one was spared", line(f))
		}
	}
}

// The oldest go first, even if the condition does not read ages, and those beyond the
// limit wait for their turn.
func TestPerCycle(t *testing.T) {
	for _, when := range []string{`state == "CLOSE_WAIT" && age > 0`, closeWait} {
		t.Run(when, func(t *testing.T) {
			s := newStage(t, live)
			// The youngest has the lowest cookie.
			young, middle, old := s.leak(1, 5*time.Minute)[0], s.leak(1, 6*time.Minute)[0], s.leak(1, 7*time.Minute)[0]
			s.Outcomes["destroy"] = []actions.Outcome{{Result: actions.FDStillHeld}}
			p := s.rules(when, "destroy", "limits: {per_cycle: 1}")
			for _, first := range []uint64{old.Cookie, middle.Cookie, young.Cookie} {
				r := s.run(p)
				checkSum(t, r)
				oldestFirst(t, r)
				s.expectFinding(r.Findings[0], engine.DecideAct, "", actions.FDStillHeld)
				if got := r.Findings[0].Socket.Cookie; got != first {
					t.Errorf("socket %d went first, not %d", got, first)
				}
				for _, f := range r.Findings[1:] {
					s.expectFinding(f, engine.DecideLimited, "per_cycle 1 reached")
				}
				for _, f := range r.Findings {
					if age := f.Facts.Age.Min; age < 300 || age > 425 {
						t.Errorf("age %g", age)
					}
				}
			}
			if len(s.Done) != 3 {
				t.Errorf("done: %+v", s.Done)
			}
		})
	}
}

// checkSum checks that the summary adds up.
func checkSum(t testing.TB, r *engine.Report) {
	t.Helper()
	s := r.Summary
	if sum := s.WouldAct + s.Acted + s.Observed + s.Protected + s.Skipped + s.Failed; s.Matched != sum || s.Matched != len(r.Findings) {
		t.Errorf("%d findings, matched %d, the parts are %d: %+v", len(r.Findings), s.Matched, sum, s)
	}
	n := 0
	for _, k := range r.ByState {
		n += k
	}
	if n != s.Scanned {
		t.Errorf("scanned %d, by state %v", s.Scanned, r.ByState)
	}
}

// For actions on processes, each process counts.
func TestPerCycleProcesses(t *testing.T) {
	for limit, want := range map[int]int{1: 1, 2: 2, 3: 2, 4: 4, 6: 6, 100: 6} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			poke := poker()
			s := newStage(t, live, poke)
			s.sockets(3, collectors.CloseWait, time.Hour, 11)
			s.sockets(3, collectors.CloseWait, time.Hour, 12)
			// The sockets of two processes need both at once.
			s.Add(collectors.Socket{State: collectors.CloseWait}, time.Hour, app(21), app(22))
			s.Add(collectors.Socket{State: collectors.CloseWait}, time.Hour, app(23), app(24))
			r := s.run(s.rules(closeWait, "{poke: {owners: all}}", fmt.Sprintf("limits: {per_cycle: %d}", limit)))
			pids := map[int]bool{}
			for _, target := range poke.Applied {
				pids[target.Process.PID] = true
			}
			if len(poke.Applied) != len(pids) || len(pids) != want {
				t.Errorf("limit %d: %d effects on %d processes\n%s", limit, len(poke.Applied), len(pids), describe(r))
			}
			checkSum(t, r)
		})
	}
}
