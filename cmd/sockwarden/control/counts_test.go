package control

import (
	"context"
	"errors"
	"sync"
	"testing"

	"sockwarden/engine/look"
	"sockwarden/engine/report"
	"sockwarden/engine/silence"
	"sockwarden/engine/watch"
	"sockwarden/rules"
)

// What silences cover is counted once for all who ask, until there are other findings or
// other silences.
func TestCountsAreShared(t *testing.T) {
	c := counts{turn: make(chan struct{}, 1)}
	st := good()
	for range 5 {
		st.Report.Findings = append(st.Report.Findings, &report.Finding{Rule: &rules.Rule{Name: "leak"}, Candidate: &look.Candidate{}})
	}
	in := silence.List{{ID: 1, Rules: []string{"leak"}}}
	var mu sync.Mutex
	answers := map[*watch.SilenceStatus]bool{}
	ask := func() (first *watch.SilenceStatus) {
		all, err := c.of(t.Context(), st, in)
		if err != nil || len(all) != 1 || all[0].Spares != len(st.Report.Findings) {
			t.Errorf("%+v, %v", all, err)
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		answers[&all[0]] = true
		return &all[0]
	}
	var running sync.WaitGroup
	for range 20 {
		running.Go(func() { ask() })
	}
	running.Wait()
	if len(answers) != 1 {
		t.Errorf("counted %d times", len(answers))
	}
	was := ask()
	later := *st
	later.Cycle, later.Report = &watch.CycleStatus{}, &report.Report{}
	st = &later
	if now := ask(); now == was {
		t.Error("the count of another cycle")
	}
	in = append(in, in[0])[1:]
	in[0] = &silence.Silence{ID: 2, Rules: []string{"leak"}}
	if now := ask(); now == nil || now.ID != 2 {
		t.Errorf("the count of another silence: %+v", now)
	}
	c.turn <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.of(ctx, st, in); !errors.Is(err, context.Canceled) {
		t.Errorf("it waits on: %v", err)
	}
}
