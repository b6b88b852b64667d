package actiontest

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// Cases says how to use the action.
type Cases struct {
	// Good are parameters that New accepts; the first are for all tests with a target.
	Good []map[string]any
	// Bad are parameters with declared names and types that New refuses, with a word from
	// the error.
	Bad []Bad
	// Make makes a target for which the action succeeds.
	Make func(t testing.TB) *Subject
	// Stubborn makes a target that does not react; if nil, Make serves.
	Stubborn func(t testing.TB) *Subject
}

// Bad are parameters that New refuses.
type Bad struct {
	Params map[string]any
	Word   string
}

// Subject is a live target, with the means to watch it and to end it without the action.
type Subject struct {
	Target actions.Target
	// State describes everything about the target that an action could change, and
	// nothing that changes by itself. It does not ask the action.
	State func(t testing.TB) string
	// Vanish ends the target and returns when the kernel has forgotten it.
	Vanish func(t testing.TB)
}

// Run tests the contract of an action. Harmless actions need not look at their target.
func Run(t *testing.T, plugin actions.Plugin, cases Cases) {
	t.Helper()
	socklab.Need(t)
	if len(cases.Good) == 0 || cases.Make == nil {
		t.Fatal("cases without parameters or targets")
	}
	s := suite{plugin, cases}
	t.Run("Documented", s.documented)
	t.Run("New", s.new)
	t.Run("PrepareChangesNothing", s.prepareChangesNothing)
	t.Run("PrepareWithoutTarget", s.prepareWithoutTarget)
	t.Run("PrepareVanished", s.prepareVanished)
	t.Run("ApplyVanished", s.applyVanished)
	t.Run("Apply", s.apply)
	t.Run("ApplyNeverWaits", s.applyNeverWaits)
	t.Run("VerifyOnlyLooks", s.verifyOnlyLooks)
	t.Run("NeedsSuffice", s.needsSuffice)
}

type suite struct {
	plugin actions.Plugin
	cases  Cases
}

// atOnce is how long something that does not wait may take on a busy machine.
const atOnce = time.Second

// action returns the configured action.
func (s suite) action(t testing.TB) actions.Action {
	t.Helper()
	a, err := s.plugin.New(s.cases.Good[0])
	if err != nil || a == nil {
		t.Fatalf("New(%v): %v, %v", s.cases.Good[0], a, err)
	}
	return a
}

func (s suite) prepare(t testing.TB, target actions.Target) actions.Effect {
	t.Helper()
	e, err := s.action(t).Prepare(t.Context(), target)
	if err != nil || e == nil {
		t.Fatalf("Prepare: %v, %v", e, err)
	}
	return e
}

// new checks that New decides by the parameters alone: it does the same on a thread
// without files, network and capabilities.
func (s suite) new(t *testing.T) {
	LeakCheck(t)
	check := func() (problems []string) {
		for _, params := range s.cases.Good {
			if a, err := s.plugin.New(params); err != nil || a == nil {
				problems = append(problems, "refused: "+describe(params, err))
			}
		}
		for _, bad := range s.cases.Bad {
			if a, err := s.plugin.New(bad.Params); err == nil || a != nil || !strings.Contains(err.Error(), bad.Word) {
				problems = append(problems, "not refused with "+bad.Word+": "+describe(bad.Params, err))
			}
		}
		return problems
	}
	for _, problem := range check() {
		t.Error(problem)
	}
	problems, err := inTheDark(t, check)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Errorf("without files and network: %s", problem)
	}
}

// prepareChangesNothing: nor does saying, twice, what would be done.
func (s suite) prepareChangesNothing(t *testing.T) {
	LeakCheck(t)
	subject := s.cases.Make(t)
	before := subject.State(t)
	for range 2 {
		text := s.prepare(t, subject.Target).String()
		if strings.TrimSpace(text) == "" || strings.Contains(text, "\n") {
			t.Errorf("the effect is %q", text)
		}
	}
	if after := subject.State(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
}

// prepareWithoutTarget: an error, unless the action needs no look at a target.
func (s suite) prepareWithoutTarget(t *testing.T) {
	if _, err := s.action(t).Prepare(t.Context(), actions.Target{}); (err == nil) != s.plugin.Harmless {
		t.Errorf("no target: %v", err)
	}
}

func (s suite) prepareVanished(t *testing.T) {
	LeakCheck(t)
	subject := s.cases.Make(t)
	subject.Vanish(t)
	e, err := s.action(t).Prepare(t.Context(), subject.Target)
	switch {
	case s.plugin.Harmless:
		if err != nil {
			t.Errorf("%v", err)
		}
	case e != nil || !errors.Is(err, collectors.ErrGone):
		t.Errorf("%v, %v, not ErrGone", e, err)
	case actions.OutcomeOf(err).Result != actions.Changed:
		t.Errorf("outcome %+v", actions.OutcomeOf(err))
	}
}

// applyVanished: it does not act on a target that is gone, nor on anything in its place.
func (s suite) applyVanished(t *testing.T) {
	LeakCheck(t)
	subject, bystander := s.cases.Make(t), s.cases.Make(t)
	e := s.prepare(t, subject.Target)
	subject.Vanish(t)
	before := bystander.State(t)
	want := actions.Changed
	if s.plugin.Harmless {
		want = actions.Done
	}
	if out := e.Apply(t.Context()); out.Result != want || out.Err != nil {
		t.Errorf("%+v, not %s", out, want)
	}
	if after := bystander.State(t); after != before {
		t.Errorf("a bystander, before:\n%s\nafter:\n%s", before, after)
	}
}

// apply: it succeeds in the end, keeps saying so, and harms nobody else.
func (s suite) apply(t *testing.T) {
	LeakCheck(t)
	subject, bystander := s.cases.Make(t), s.cases.Make(t)
	before, others := subject.State(t), bystander.State(t)
	e := s.prepare(t, subject.Target)
	text := e.String()
	if out := e.Apply(t.Context()); !out.Result.Succeeded() || out.Err != nil {
		t.Fatalf("Apply: %+v", out)
	}
	if e.String() != text {
		t.Errorf("the effect is %q, was %q", e.String(), text)
	}
	var out actions.Outcome
	socklab.WaitFor(t, "success", func() bool {
		out = e.Verify(t.Context())
		return out.Result.Succeeded()
	})
	if !slices.Contains(s.plugin.Results, out.Result) {
		t.Errorf("%s is not among its results %v", out.Result, s.plugin.Results)
	}
	for range 3 {
		if again := e.Verify(t.Context()); again != out {
			t.Errorf("Verify: %+v, then %+v", out, again)
		}
	}
	if after := subject.State(t); (after == before) != s.plugin.Harmless {
		t.Errorf("the target, before:\n%s\nafter:\n%s", before, after)
	}
	if after := bystander.State(t); after != others {
		t.Errorf("a bystander, before:\n%s\nafter:\n%s", others, after)
	}
}

func (s suite) applyNeverWaits(t *testing.T) {
	LeakCheck(t)
	make := s.cases.Stubborn
	if make == nil {
		make = s.cases.Make
	}
	subject := make(t)
	start := time.Now()
	e := s.prepare(t, subject.Target)
	prepared := time.Now()
	out := e.Apply(t.Context())
	applied := time.Now()
	e.Verify(t.Context())
	verified := time.Now()
	for what, took := range map[string]time.Duration{
		"Prepare": prepared.Sub(start), "Apply": applied.Sub(prepared), "Verify": verified.Sub(applied),
	} {
		if took > atOnce {
			t.Errorf("%s took %s", what, took)
		}
	}
	if !out.Result.Succeeded() {
		t.Errorf("Apply: %+v", out)
	}
}

// verifyOnlyLooks: before Apply it changes nothing, however often it is called.
// Afterwards it ends nothing that is still running, even if nobody wants to wait longer:
// that is up to Stop.
func (s suite) verifyOnlyLooks(t *testing.T) {
	LeakCheck(t)
	make := s.cases.Stubborn
	if make == nil {
		make = s.cases.Make
	}
	subject := make(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	before := subject.State(t)
	e := s.prepare(t, subject.Target)
	e.Verify(t.Context())
	e.Verify(ended)
	if after := subject.State(t); after != before {
		t.Errorf("before:\n%s\nafter:\n%s", before, after)
	}
	if e = s.prepare(t, subject.Target); !e.Apply(t.Context()).Result.Succeeded() {
		t.Fatal("Apply failed")
	}
	under := e.Verify(t.Context()).Pending
	if out := e.Verify(ended); out.Pending != under && out.Result == actions.Failed {
		t.Errorf("Verify has ended it: %+v", out)
	}
	if _, ok := e.(actions.Stopper); !ok {
		return
	}
	var out actions.Outcome
	socklab.WaitFor(t, "its end", func() bool {
		out = actions.Stop(t.Context(), e)
		return !out.Pending
	})
	if again := e.Verify(t.Context()); again != out {
		t.Errorf("Stop: %+v, then Verify: %+v", out, again)
	}
}
