package actiontest

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/collectors/stuck"
)

// needed checks that each need names one thing, and that an action that changes anything
// has some.
func (s suite) needed(t *testing.T) {
	t.Helper()
	if len(s.plugin.Needs) == 0 && !s.plugin.Harmless {
		t.Error("what it needs of the host is not declared")
	}
	all := slices.Clone(s.plugin.Needs)
	for _, params := range s.cases.Good {
		all = append(all, s.plugin.NeedsOf(params)...)
	}
	for _, n := range all {
		things := 0
		for _, named := range []string{n.Capability.Name, n.Feature.Name, n.Text} {
			if named != "" {
				things++
			}
		}
		if things != 1 || n.Feature.Name != "" && n.Feature.Major == 0 {
			t.Errorf("need %+v is not one thing", n)
		}
	}
}

// needsSuffice: with only its declared capabilities the action can do everything, in its
// own network namespace.
func (s suite) needsSuffice(t *testing.T) {
	LeakCheck(t)
	var drop []int
	needs := s.plugin.NeedsOf(s.cases.Good[0])
	for c := range unix.CAP_LAST_CAP + 1 {
		if !slices.ContainsFunc(needs, func(n actions.Need) bool { return n.Capability.Name != "" && n.Capability.Number == c }) {
			drop = append(drop, c)
		}
	}
	subject, action := s.cases.Make(t), s.action(t)
	err := socklab.WithoutCapability(t, func() error {
		ctx := stuck.OnThisThread(t.Context())
		e, err := action.Prepare(ctx, subject.Target)
		if err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
		for what, out := range map[string]actions.Outcome{"Apply": e.Apply(ctx), "Verify": e.Verify(ctx)} {
			if out.Result == actions.NotPermitted || errors.Is(out.Err, collectors.ErrNotPermitted) || what == "Apply" && !out.Result.Succeeded() {
				return fmt.Errorf("%s: %+v", what, out) //nolint:err113 // for people
			}
		}
		return nil
	}, drop...)
	if err != nil {
		t.Errorf("with the capabilities that it declares alone: %v", err)
	}
}
