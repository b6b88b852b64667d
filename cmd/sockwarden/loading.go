package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"sockwarden/rules"
)

// loadPatience is how long reading the rules may take. A file system that does not answer
// (a network, FUSE) must delay neither cycles nor the end.
const loadPatience = 10 * time.Second

var errNoAnswer = errors.New("a file system does not answer")

// ruleLoader reads rules on a goroutine of its own. Use it from one goroutine; it never
// leaves more than one behind.
type ruleLoader struct {
	options  rules.Options
	patience time.Duration // 0 for no limit
	load     func(rules.Options) (*rules.Program, []string, error)
	hanging  chan loaded // what an earlier call stopped waiting for
}

type loaded struct {
	program *rules.Program
	watched []string
	err     error
}

func newRuleLoader(o rules.Options) *ruleLoader {
	if o.Lists == nil {
		o.Lists = &rules.Lists{}
	}
	l := &ruleLoader{options: o, patience: loadPatience, load: rules.Load}
	if rules.Streams(o.Paths) {
		l.patience = 0
	}
	return l
}

// next reads the rules as they are now. The error is that of rules.Load, errNoAnswer, or
// the context's. With the last two it returns no places to watch: watching them would
// hang in the same way.
func (l *ruleLoader) next(ctx context.Context) (*rules.Program, []string, error) {
	if l.hanging != nil {
		select {
		case <-l.hanging: // by now the rules may have changed
			l.hanging = nil
		default:
			return nil, nil, fmt.Errorf("the rules still cannot be read: %w", errNoAnswer)
		}
	}
	results, options := make(chan loaded, 1), l.options // a copy: the caller may change them, even after it stopped waiting
	go func() {
		p, watched, err := l.load(options)
		results <- loaded{p, watched, err}
	}()
	var late <-chan time.Time
	if l.patience > 0 {
		late = time.After(l.patience)
	}
	select {
	case r := <-results:
		return r.program, r.watched, r.err
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	case <-late:
		l.hanging = results
		return nil, nil, fmt.Errorf("the rules could not be read within %s: %w", l.patience, errNoAnswer)
	}
}
