package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"sockwarden/collectors"
	"sockwarden/collectors/netns"
	"sockwarden/engine"
	"sockwarden/rules"
)

// The exit codes, a contract with scripts.
const (
	exitOK        = 0
	exitFailed    = 1  // an action failed, or the run itself did
	exitUsage     = 2  // the command line is wrong
	exitRules     = 3  // the rules are invalid
	exitForbidden = 4  // not permitted or not supported here
	exitFindings  = 10 // findings exist (audit --exit-code)
)

// exitError carries an exit code, a message and what to do next.
type exitError struct {
	code int
	err  error // nil to say nothing
	hint string
}

func (e *exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &exitError{code: exitUsage, err: fmt.Errorf(format, args...)} //nolint:err113 // for people
}

// code says with what code an error ends the program.
func code(err error) int {
	var exit *exitError
	var problems rules.Problems
	var usage *rules.UsageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &exit):
		return exit.code
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &problems):
		return exitRules
	case errors.Is(err, collectors.ErrNotPermitted), errors.Is(err, collectors.ErrNotSupported):
		return exitForbidden
	}
	return exitFailed
}

// explain prints an error to w as people should see it.
func explain(w io.Writer, err error) {
	var exit *exitError
	hint := ""
	missing, _ := errors.AsType[*netns.MissingError](err)
	switch {
	case errors.As(err, &exit):
		if exit.err == nil {
			return
		}
		hint = exit.hint
	case missing != nil:
		hint = missing.Hint()
	case errors.Is(err, collectors.ErrNotPermitted):
		hint = "run as root, or give the process the capability"
		if os.Geteuid() == 0 {
			hint = "root lacks it here: give the process the capability (sockwarden doctor lists them)"
		}
	case errors.Is(err, context.Canceled):
		err = errors.New("interrupted")
	}
	text := err.Error()
	if problems, ok := errors.AsType[rules.Problems](err); ok {
		text = problems.Detail()
		shown, omitted := problems.Shown()
		if n := len(shown) + omitted; n > 1 {
			text = fmt.Sprintf("%d problems\n%s", n, text)
		}
	}
	fmt.Fprintf(w, "error: %s\n", strings.TrimSuffix(text, "\n"))
	if hint != "" {
		fmt.Fprintf(w, "hint: %s\n", hint)
	}
}

// unopened makes the error of a cycle also that of the namespaces which were asked for
// by name and could not be looked into: a run that was not done as it was asked for has
// failed, whatever it did elsewhere.
func unopened(r *engine.Report, err error) error {
	missing := r.Unopened()
	if len(missing) == 0 {
		return err
	}
	var texts, hints []string
	ends := exitForbidden
	for _, m := range missing {
		text, _, _ := strings.Cut(m.Error(), "\n") // of the first source
		texts = append(texts, text)
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
