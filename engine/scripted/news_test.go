package scripted_test

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/engine"
	"sockwarden/engine/news"
	"sockwarden/engine/report"
	"sockwarden/engine/scripted"
	"sockwarden/rules"
)

// watcher is an observer that stores what it hears.
type watcher struct {
	decisions []report.Decision
	outcomes  []actions.Result
	cycles    int
}

var _ news.Observer = (*watcher)(nil)

func (w *watcher) Listens() bool { return true }

func (w *watcher) Decision(_, _ string, f *report.Finding) {
	w.decisions = append(w.decisions, f.Decision)
}

func (w *watcher) Outcome(_ context.Context, o *report.Outcome) {
	w.outcomes = append(w.outcomes, o.Result)
}

func (w *watcher) Cycle(context.Context, *rules.Program, *report.Report) { w.cycles++ }

// An observer hears of each decision once, as long as it stands, and of each outcome and
// each cycle.
func TestObserver(t *testing.T) {
	w := &watcher{}
	s := newStage(t, engine.Options{Live: true, Observers: []news.Observer{w}}, scripted.Coming("keep", scripted.Outcome{Result: actions.Refused}))
	s.leak(3, time.Second)
	p := s.rules(closeWait, "keep", "limits: {per_cycle: 2, cooldown: 1h}")
	for range 4 {
		s.Tell(t.Context(), p, s.run(p))
		s.Advance(time.Second)
	}
	counts := map[report.Decision]int{}
	for _, d := range w.decisions {
		counts[d]++
	}
	want := map[report.Decision]int{report.DecideAct: 3, report.DecideLimited: 1, report.DecideCooldown: 3}
	if !maps.Equal(counts, want) || w.cycles != 4 || !slices.Equal(w.outcomes, []actions.Result{actions.Refused, actions.Refused, actions.Refused}) {
		t.Errorf("decisions %v, outcomes %v, %d cycles", counts, w.outcomes, w.cycles)
	}
}

// What an earlier run already reported is not news to the next one, which has its state
// file.
func TestNoNewsForTheNextRun(t *testing.T) {
	w := &watcher{}
	o := engine.Options{Live: true, Notify: true, Observers: []news.Observer{w}, StateFile: t.TempDir() + "/state"}
	s := newStage(t, o)
	s.leak(3, time.Second)
	p := s.rules("state == \"CLOSE_WAIT\"", "destroy", "mode: observe")
	s.run(p)
	if len(w.decisions) != 3 {
		t.Errorf("decisions %v", w.decisions)
	}
	s.Advance(time.Minute)
	s.restart(o)
	r := s.run(p)
	if len(w.decisions) != 3 || slices.ContainsFunc(r.Findings, func(f *report.Finding) bool { return f.New }) {
		t.Errorf("again: decisions %v", w.decisions)
	}
	// A run that a person starts, without Notify, reports everything.
	o.Notify = false
	s.restart(o)
	if s.run(p); len(w.decisions) != 6 {
		t.Errorf("a person's run: decisions %v", w.decisions)
	}
}

// A report already handed out does not change as its ladders go on.
func TestReportStays(t *testing.T) {
	s := newStage(t, live, scripted.Coming("slow", scripted.Outcome{Result: actions.StillRunning}, scripted.Outcome{Result: actions.Done}))
	s.leak(2, time.Second)
	r, err := s.Cycle(t.Context(), s.rules(closeWait, "{slow: {}, wait: 1m}"))
	s.must(err)
	before, err := json.Marshal(r)
	s.must(err)
	s.Advance(2 * time.Minute)
	s.Step(t.Context())
	after, err := json.Marshal(r)
	s.must(err)
	if string(before) != string(after) {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	s.Finish(t.Context(), r)
	if r.Summary.Acted+r.Summary.Failed != 2 || !slices.ContainsFunc(r.Findings, func(f *report.Finding) bool { return f.Last().Result == actions.Done }) {
		t.Errorf("finished: %+v", r.Summary)
	}
}
