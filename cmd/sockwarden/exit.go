package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"sockwarden/cmd/sockwarden/view"
	"sockwarden/collectors"
	"sockwarden/collectors/netns"
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

// exitError carries an exit code, a message and a hint what to do next.
type exitError struct {
	code int
	err  error // nil to print nothing
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

// code returns the exit code for an error.
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

// explain prints an error to w for people.
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
	fmt.Fprintf(w, "error: %s\n", errorText(err))
	if hint != "" {
		fmt.Fprintf(w, "hint: %s\n", hint)
	}
}

// errorText is an error as people read it; of rules, with the lines that are wrong.
func errorText(err error) string {
	text := err.Error()
	if errors.Is(err, collectors.ErrNotPermitted) {
		text = view.ErrorText(err)
	}
	if problems, ok := errors.AsType[rules.Problems](err); ok {
		text = problems.Detail()
		shown, omitted := problems.Shown()
		if n := len(shown) + omitted; n > 1 {
			text = fmt.Sprintf("%d problems\n%s", n, text)
		}
	}
	return strings.TrimSuffix(text, "\n")
}

// quietPipe ignores the error of a reader that went away.
func quietPipe(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}
