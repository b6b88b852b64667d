package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"sockwarden/cmd/sockwarden/view"
	"sockwarden/collectors/netns"
	"sockwarden/engine"
)

// allUnseen is the error of a run that did nothing because it could not know whose
// sockets they are.
func allUnseen(r *engine.Report) error {
	text := "nothing was done: others who cannot be seen may hold the " + view.Count(r.SparedUnseen, "socket")
	return &exitError{code: exitForbidden, err: errors.New(text), hint: "the reason above says what helps, sockwarden doctor says more"}
}

// outcome turns the result of a live run into the exit code.
func outcome(ctx context.Context, r *engine.Report) error {
	switch {
	case r.HostError != nil:
		return &exitError{code: code(r.HostError), err: fmt.Errorf("the host refuses to act: %w", r.HostError)}
	case ctx.Err() != nil:
		return &exitError{code: exitFailed, err: errors.New("interrupted: what had not begun was left alone")}
	case r.Incomplete && r.Mode == "live" && !r.Failed():
		return &exitError{code: exitFailed, err: errors.New("not everything could be looked at")}
	case !r.Failed() && r.AuditError != nil:
		return &exitError{code: exitFailed, err: r.AuditError}
	case r.Mode == "live" && r.AllUnseen():
		return allUnseen(r)
	case r.Failed():
		text := fmt.Sprintf("%d of %d actions failed", r.Summary.Failed, r.Summary.Failed+r.Summary.Acted)
		return &exitError{code: exitFailed, err: errors.New(text)}
	}
	return nil
}

// unopened adds to the error of a cycle the namespaces that were named and could not be
// looked into. A run that did not do what it was asked to has failed, whatever it did
// elsewhere.
func unopened(r *engine.Report, err error) error {
	missing := r.Unopened()
	if len(missing) == 0 {
		return err
	}
	var texts, hints []string
	ends := exitForbidden
	for _, m := range missing {
		texts = append(texts, view.ErrorText(m))
		hint := "run as root, or leave it out of --netns"
		if away, ok := errors.AsType[*netns.MissingError](m); ok {
			hint = away.Hint()
		}
		if !slices.Contains(hints, hint) {
			hints = append(hints, hint)
		}
		if code(m) != exitForbidden {
			ends = exitFailed
		}
	}
	if err != nil {
		texts = append([]string{err.Error()}, texts...)
		ends = code(err)
		if exit, ok := errors.AsType[*exitError](err); ok && exit.hint != "" {
			hints = append([]string{exit.hint}, hints...)
		}
	}
	return &exitError{code: ends, err: errors.New(strings.Join(texts, "; ")), hint: strings.Join(hints, "; ")}
}
