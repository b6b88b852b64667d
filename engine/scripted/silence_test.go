package scripted_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/scripted"
	"sockwarden/engine/silence"
)

// quiet makes the options of an engine that obeys the silences of one file, and its path.
func quiet(t *testing.T, o engine.Options) (engine.Options, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "run", "silences.json")
	o.Silences = []string{path}
	return o, path
}

// hush adds a silence for an hour and returns its number.
func (s *stage) hush(path, expr string, names ...string) int {
	s.t.Helper()
	one := &silence.Silence{Rules: names, Expr: expr, CreatedBy: "anna", StartsAt: s.Now(), EndsAt: s.Now().Add(time.Hour)}
	s.must(one.Check())
	s.must(silence.Add(s.t.Context(), path, []string{path}, one))
	return one.ID
}

const twoRules = `rules:
  - {name: a, when: 'state == "CLOSE_WAIT" && port == 1', then: [keep], limits: {cooldown: 0}}
  - {name: b, when: 'state == "CLOSE_WAIT"', then: [keep], limits: {cooldown: 0}}
`

// A silence spares what its rule finds, and only that; the rule still has the socket, so
// that a later one does not take it. It ends by the wall clock, or by hand.
func TestSilenceOfARule(t *testing.T) {
	o, path := quiet(t, live)
	s := newStage(t, o, keeper())
	one := s.Add(collectors.Socket{State: collectors.CloseWait, LocalPort: 1}, time.Hour, app(7))
	two := s.Add(collectors.Socket{State: collectors.CloseWait, LocalPort: 2}, time.Hour, app(7))
	p := s.file(twoRules)
	s.expectTally(s.run(p), map[engine.Decision]int{engine.DecideAct: 2, engine.DecideShadowed: 1})
	id := s.hush(path, "", "a")
	r := s.run(p)
	if got := decisions(r, one); got != "a silenced, b shadowed" {
		t.Errorf("decided %s", got)
	}
	s.expectFinding(findingsOf(r, one)[0], engine.DecideSilenced, "silence 1 by anna until 13:00:00")
	s.expectOf(r, two, engine.DecideAct, "", actions.Refused)
	if r.Summary.Skipped != 2 || r.Summary.Failed != 1 {
		t.Errorf("summary %+v", r.Summary)
	}
	s.Advance(time.Hour)
	s.expectTally(s.run(p), map[engine.Decision]int{engine.DecideAct: 2, engine.DecideShadowed: 1})
	if next := s.hush(path, "", "a", "b"); next != id+1 {
		t.Errorf("its number is %d", next)
	}
	s.expectTally(s.run(p), map[engine.Decision]int{engine.DecideSilenced: 2, engine.DecideShadowed: 1})
	s.must(silence.Remove(t.Context(), o.Silences, id+1, "bob", s.Now()))
	s.expectTally(s.run(p), map[engine.Decision]int{engine.DecideAct: 2, engine.DecideShadowed: 1})
}

// The condition of a silence reads what no rule asks for, and it is looked up.
func TestSilenceReadsMore(t *testing.T) {
	o, path := quiet(t, live)
	s := containersStage(t, o)
	s.hush(path, `container == "hbbs"`)
	s.expect(s.rules(hung, "destroy", "limits: {cooldown: 0}"), "1 silenced, 2 act destroy gone")
	if len(s.Asked) == 0 {
		t.Error("nobody was asked for names")
	}
}

// What is unknown of a socket is spared.
func TestSilenceOfUnknown(t *testing.T) {
	o, path := quiet(t, live)
	s := newStage(t, o)
	c := s.leak(1, time.Hour)[0]
	s.hush(path, `pod == "shop/cart"`)
	s.Containers = nil
	s.expectOf(s.run(s.rules(closeWait+` && container_id == ""`, "destroy")), c, engine.DecideAct, "", actions.Gone) // known to be in none
	other := s.Add(collectors.Socket{State: collectors.CloseWait}, time.Hour, inside(8, "a"))
	s.expectOf(s.run(s.rules(closeWait, "destroy")), other, engine.DecideSilenced, "silence 1 by anna until 13:00:00 (unknown)")
}

// The files are looked at immediately before each effect: after a silence was added
// nothing more is touched that it covers, even if it was decided on.
func TestSilenceBetweenEffects(t *testing.T) {
	for name, script := range map[string]*scripted.Script{"socket": keeper(), "process": poker()} {
		t.Run(name, func(t *testing.T) {
			o, path := quiet(t, live)
			s := newStage(t, o, script)
			script.Does = func(actions.Target) scripted.Outcome {
				if len(script.Applied) == 2 {
					s.hush(path, "", "r")
				}
				return scripted.Outcome{Result: actions.Done}
			}
			script.Looks = func(actions.Target) scripted.Outcome { return scripted.Outcome{Result: actions.Done} }
			for pid := range 4 {
				s.Add(collectors.Socket{State: collectors.CloseWait}, time.Hour, app(10+pid))
			}
			p := s.rules(closeWait, script.Name, "limits: {cooldown: 1h}")
			r := s.run(p)
			if len(script.Applied) != 2 || r.Summary.Acted != 2 || r.Summary.Skipped != 2 || r.Summary.Failed != 0 {
				t.Errorf("applied %d times, summary %+v\n%s", len(script.Applied), r.Summary, describe(r))
			}
			for _, f := range r.Findings[2:] {
				if last := f.Last(); last.Result != actions.Changed || last.Detail != "silence 1 by anna until 13:00:00 spares it now" {
					t.Errorf("%s", line(f))
				}
			}
			s.expectTally(s.run(p), map[engine.Decision]int{engine.DecideSilenced: 4})
			// What was not done has no cool-down.
			s.must(silence.Remove(t.Context(), o.Silences, 1, "bob", s.Now()))
			script.Does = func(actions.Target) scripted.Outcome { return scripted.Outcome{Result: actions.Done} }
			s.expectTally(s.run(p), map[engine.Decision]int{engine.DecideCooldown: 2, engine.DecideAct: 2})
		})
	}
}

// Many sockets are destroyed together, in turns: a silence ends that, too.
func TestSilenceInTurns(t *testing.T) {
	o, path := quiet(t, live)
	s := newStage(t, o)
	p := s.rules(closeWait, "destroy", "limits: {per_cycle: 100, cooldown: 0}")
	cs := s.leak(20, time.Hour)
	looked, err := s.Find(t.Context(), p) // decided before the silence
	s.must(err)
	s.hush(path, peers(cs[:15]...), "r")
	r := s.Act(t.Context(), p, looked)
	s.Finish(t.Context(), r)
	if r.Summary.Acted != 5 || r.Summary.Skipped != 15 {
		t.Errorf("summary %+v\n%s", r.Summary, describe(r))
	}
}

// A ladder that waits does not go on to its next rung under a silence, nor after it.
func TestSilenceEndsLadders(t *testing.T) {
	o, path := quiet(t, live)
	s := newStage(t, o)
	s.deaf()
	c := s.leak(1, time.Hour)[0]
	r := s.cycle(rule(closeWait, "{signal: TERM, wait: 10s}, {signal: KILL, wait: 5s}"))
	if !s.waits() {
		t.Fatalf("it does not wait: %s", describe(r))
	}
	s.hush(path, "pid == 7")
	s.Finish(t.Context(), r)
	if s.waits() || !s.Runs(7) {
		t.Errorf("waits %t, runs %t", s.waits(), s.Runs(7))
	}
	if f := s.findingOf(r, c); f.Last().Result == actions.Ended {
		t.Errorf("%s", line(f))
	}
	s.Advance(2 * time.Hour)
	s.Step(t.Context())
	if !s.Runs(7) {
		t.Error("it went on after the silence")
	}
}

// A silence mutes what changes nothing on the host, too, and says so in a dry run.
func TestSilenceOfHarmless(t *testing.T) {
	o, path := quiet(t, live)
	s := newStage(t, o)
	c := s.leak(1, time.Hour)[0]
	s.hush(path, closeWait)
	s.expectOf(s.run(s.rules(closeWait, "log")), c, engine.DecideSilenced, "by anna")
	o.Live = false
	s.restart(o)
	s.expectOf(s.run(s.rules(closeWait, "destroy")), c, engine.DecideSilenced, "by anna")
}

// The times of a rule run on, so that it acts as soon as the silence is over; the breaker
// counts nothing that a silence spares.
func TestSilenceLetsTimeRun(t *testing.T) {
	o, path := quiet(t, live)
	s := newStage(t, o, keeper())
	s.sockets(3, collectors.Established, time.Hour, 7)
	p := s.file("defaults: {breaker: {count: 2}}\n" + rule(`state == "ESTABLISHED"`, "keep", "for: 10m"))
	s.hush(path, "", "r")
	s.expectTally(s.run(p), map[engine.Decision]int{engine.DecidePending: 3})
	for range 4 {
		s.Advance(9 * time.Minute)
		s.run(p)
	}
	r := s.run(p)
	s.expectTally(r, map[engine.Decision]int{engine.DecideSilenced: 3})
	s.noErrors(r)
	s.Advance(8 * time.Minute)
	s.run(p)
	s.Advance(8 * time.Minute)
	s.run(p)
	s.Advance(8*time.Minute + time.Second)
	s.expectTally(s.run(p), map[engine.Decision]int{engine.DecideBreaker: 3})
}

// A file that cannot be read or understood, or that somebody else could have written,
// spares everything; a silence that this version does not understand, all of its rules.
func TestSilencesUnreadable(t *testing.T) {
	good := `{"format":"sockwarden-silences-1","last":1,"silences":[`
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
		want map[engine.Decision]int
	}{
		"broken":    {"{", 0o600, map[engine.Decision]int{engine.DecideSilenced: 2}},
		"empty":     {"", 0o600, map[engine.Decision]int{engine.DecideSilenced: 2}},
		"newer":     {`{"format":"sockwarden-silences-2"}`, 0o600, map[engine.Decision]int{engine.DecideSilenced: 2}},
		"writable":  {good + "]}", 0o666, map[engine.Decision]int{engine.DecideSilenced: 2}},
		"nothing":   {good + "]}", 0o644, map[engine.Decision]int{engine.DecideAct: 2}},
		"condition": {good + `{"id":1,"rules":["a"],"expr":"new_field == 3","ends_at":"2126-01-01T00:00:00Z"}]}`, 0o644, map[engine.Decision]int{engine.DecideSilenced: 1, engine.DecideAct: 1}},
		"ended":     {good + `{"id":1,"rules":["a"],"ends_at":"2026-11-26T12:00:00Z"}]}`, 0o644, map[engine.Decision]int{engine.DecideAct: 2}},
	} {
		t.Run(name, func(t *testing.T) {
			o, path := quiet(t, live)
			s := newStage(t, o, keeper())
			s.Add(collectors.Socket{State: collectors.CloseWait, LocalPort: 1}, time.Hour, app(7))
			s.Add(collectors.Socket{State: collectors.LastAck}, time.Hour, app(7))
			p := s.file(`rules:
  - {name: a, when: 'state == "CLOSE_WAIT"', then: [keep], limits: {cooldown: 0}}
  - {name: b, when: 'state == "LAST_ACK"', then: [keep], limits: {cooldown: 0}}
`)
			s.expectTally(s.run(p), map[engine.Decision]int{engine.DecideAct: 2}) // no file
			s.must(os.MkdirAll(filepath.Dir(path), 0o755))
			s.must(os.WriteFile(path, []byte(c.text), 0o600))
			s.must(os.Chmod(path, c.mode))
			s.expectTally(s.run(p), c.want)
		})
	}
}

// What stands is not told again during a silence, and after it as if it had just been told.
func TestSilenceOfRepeats(t *testing.T) {
	often := &post{}
	plugins := []actions.NotifierPlugin{(&post{}).plugin("plain"), often.plugin("often"), (&post{}).plugin("short")}
	o, path := quiet(t, engine.Options{Live: true, Notify: true, Notifiers: plugins})
	s := newStage(t, o, keeper())
	s.leak(3, time.Second)
	p := s.notified(plugins, rule(closeWait, "keep", "limits: {cooldown: 24h}", "notify: [often]"))
	cycles := func(n int) {
		t.Helper()
		for range n {
			s.Tell(t.Context(), p, s.run(p))
			s.Advance(time.Minute)
		}
	}
	cycles(5)
	s.hush(path, "", "r")
	cycles(59) // it ends after an hour
	cycles(15)
	s.Close() // delivers what is left
	if got := strings.Join(often.got, ", "); got != "found 3 0s, stands 3 1h15m0s" {
		t.Errorf("%q", got)
	}
}
