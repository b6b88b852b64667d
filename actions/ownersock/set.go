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
// Needs returns, can end with what Results lists, and is Gentle.
type Setter struct {
	Name   string               // of the action
	States collectors.StateMask // the states of connections that it accepts, 0 for any
	// Plan reads what is set on the socket of a descriptor and says what to set.
	Plan func(fd int) (*Plan, error)
	Proc *procfs.FS
}

// Plan says what to set on one socket.
type Plan struct {
	Before string // what is set now, for people
	Met    bool   // everything is set already
	Alone  string // why nothing will be set all the same, "" if something may be
	Note   string // what else is left alone, in words that end a sentence
	// Set sets it.
	Set func(fd int) error
	// Check reads what is set now, for people, and whether it is as planned.
	Check func(fd int) (now string, met bool, err error)
}

// Results are the results of every Setter.
func Results() []actions.Result {
	return []actions.Result{actions.Repaired, actions.Unchanged, actions.Refused, actions.Failed}
}

// Prepare checks that the owner still has the connection in its state, and reads what is
// set.
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

// planned makes the plan and passes it to do.
func (e *setting) planned(ctx context.Context, do func(p *Plan, fd int) error) error {
	var made *Plan // from a call that may go on by itself: taken over once the call is back
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

// Verify reads again what is set.
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
		return e.outcome() // closed meanwhile, which may be the purpose
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

// Option is a socket option that reads back as it was set, with the desired value.
type Option struct {
	Word        string // for people, such as "nodelay"
	Level, Name int    // as in setsockopt(2)
	Value       int
}

// Options returns the Plan of a Setter for options with fixed values.
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
