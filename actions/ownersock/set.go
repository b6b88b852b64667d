package ownersock

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
)

// Setter is an action that sets options on connections and ends nothing. It needs what
// Needs says, can end with what Results lists, and is Gentle.
type Setter struct {
	Name   string               // of the action
	States collectors.StateMask // of the connections that it is for, 0 for any
	// Plan reads what is set on the socket of a descriptor and says what is to be set.
	Plan func(fd int) (*Plan, error)
	Proc *procfs.FS
}

// Plan is what is to be set on one socket.
type Plan struct {
	Before string // what is set, for people
	Met    bool   // all that is to be set is
	Alone  string // why nothing is set all the same, "" if something may be
	Note   string // what is left alone beside that, in words that end a sentence
	// Set sets it.
	Set func(fd int) error
	// Check reads what is set now, for people, and whether it still is what was to be.
	Check func(fd int) (now string, met bool, err error)
}

// Results are those of a Setter.
func Results() []actions.Result {
	return []actions.Result{actions.Repaired, actions.Unchanged, actions.Refused, actions.Failed}
}

// Prepare looks whether the owner still has the connection in its state, and reads what
// is set.
func (a Setter) Prepare(ctx context.Context, t actions.Target) (actions.Effect, error) {
	s, err := of(a.Proc, t, a.Name, a.States)
	if err != nil {
		return nil, err
	}
	e := &setting{Setter: a, socket: s}
	if err := e.planned(ctx, func(*Plan, int) error { return nil }); err != nil {
		return nil, err
	}
	return e, nil
}

type setting struct {
	Setter
	socket *Socket
	plan   *Plan
}

func (e *setting) String() string { return e.Name }

// planned makes the plan, and does something by it.
func (e *setting) planned(ctx context.Context, do func(p *Plan, fd int) error) error {
	var made *Plan // of a call that may go on by itself: taken over once it is back
	err := e.socket.Do(ctx, func(fd int) error {
		p, err := e.Plan(fd)
		if err != nil {
			return err
		}
		made = p
		return do(p, fd)
	})
	if err == nil {
		e.plan = made
	}
	return err
}

// Apply sets what is not set yet.
func (e *setting) Apply(ctx context.Context) actions.Outcome {
	err := e.planned(ctx, func(p *Plan, fd int) error {
		if p.Alone != "" || p.Met {
			return nil
		}
		return p.Set(fd)
	})
	if err != nil {
		return actions.OutcomeOf(err)
	}
	return e.outcome()
}

// Verify reads what is set again.
func (e *setting) Verify(ctx context.Context) actions.Outcome {
	plan := e.plan
	var read struct {
		now string
		met bool
	}
	err := e.socket.Look(ctx, func(fd int) (err error) {
		read.now, read.met, err = plan.Check(fd)
		return err
	})
	switch {
	case errors.Is(err, collectors.ErrGone):
		return e.outcome() // closed meanwhile, as may be the purpose
	case err != nil:
		return actions.OutcomeOf(err)
	case plan.Alone == "" && !read.met:
		return actions.Outcome{Result: actions.Refused, Detail: "its owner has set it again: " + read.now}
	}
	return e.outcome()
}

func (e *setting) outcome() actions.Outcome {
	switch p := e.plan; {
	case p.Alone != "":
		return actions.Outcome{Result: actions.Unchanged, Detail: p.Alone}
	case p.Met:
		return actions.Outcome{Result: actions.Unchanged, Detail: p.Before + p.Note}
	default:
		return actions.Outcome{Result: actions.Repaired, Detail: "before: " + p.Before + p.Note}
	}
}

// Option is an option of a socket that reads back as it was set, with the value that it
// is to have.
type Option struct {
	Word        string // for people, as "nodelay"
	Level, Name int    // as of setsockopt(2)
	Value       int
}

// Options is the Plan of a Setter for options with fixed values.
func Options(options ...Option) func(fd int) (*Plan, error) {
	check := func(fd int) (string, bool, error) {
		words, met := make([]string, len(options)), true
		for i, o := range options {
			v, err := unix.GetsockoptInt(fd, o.Level, o.Name)
			if err != nil {
				return "", false, Classify("read socket options", err)
			}
			words[i], met = fmt.Sprintf("%s %d", o.Word, v), met && v == o.Value
		}
		return strings.Join(words, " "), met, nil
	}
	set := func(fd int) error {
		for _, o := range options {
			if err := unix.SetsockoptInt(fd, o.Level, o.Name, o.Value); err != nil {
				return Classify("set socket options", err)
			}
		}
		return nil
	}
	return func(fd int) (*Plan, error) {
		before, met, err := check(fd)
		return &Plan{Before: before, Met: met, Set: set, Check: check}, err
	}
}
