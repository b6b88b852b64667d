// Package exec runs a program for a finding: a way to add an action without compiling.
//
// Comes in: the absolute path of a program. Goes out: its exit code. The program gets the
// finding as JSON on standard input, a clean environment and no shell. When its time is
// up, it is killed with everything that it started.
package exec

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/leash"
	"sockwarden/collectors/trust"
)

const defaultTimeout = 10 * time.Second

// Plugin returns the registration of the action.
func Plugin() actions.Plugin {
	return actions.Plugin{
		Name:    "exec",
		Summary: "runs a program with the finding as JSON on standard input",
		Doc: "No shell, a clean environment (PATH, LANG=C), standard input with one JSON object: rule, labels, host, sockets. Exit code 0 is " +
			"done, any other failed with the end of the program's output; after timeout it is killed with everything that it started.",
		Needs: []actions.Need{{Text: "an executable file that only root and the running user can write, in directories that only they can write"}},
		Params: []actions.Param{
			{Name: "program", Type: "string", Program: true, Doc: "absolute path"},
			{Name: "timeout", Type: "duration", Doc: "how long it may run (default 10s)"},
			actions.ListenerParam(),
		},
		Program: true,
		Main:    "program",
		Results: []actions.Result{actions.Done, actions.Failed, actions.Timeout},
		New:     newAction,
	}
}

func newAction(params map[string]any) (actions.Action, error) {
	program, _ := params["program"].(string)
	if !filepath.IsAbs(program) {
		return nil, fmt.Errorf("program must be an absolute path such as /usr/local/bin/notify.sh, not %q: there is no shell", program)
	}
	a := action{program: program, timeout: defaultTimeout}
	if d, ok := params["timeout"].(time.Duration); ok {
		if a.timeout = d; d <= 0 || d > time.Hour {
			return nil, fmt.Errorf("timeout is between 0 and 1h, not %s", d)
		}
	}
	return a, nil
}

type action struct {
	program string
	timeout time.Duration
}

// Preflight says whether the program exists, can be trusted, and could be started by the
// kernel.
func (a action) Preflight(context.Context) error {
	if err := trust.Program(a.program); err != nil {
		return err
	}
	return interpreter(a.program)
}

// Prepare checks the program, looks up the sockets and writes down the finding with those
// that still exist.
func (a action) Prepare(ctx context.Context, t actions.Target) (actions.Effect, error) {
	if err := a.Preflight(ctx); err != nil {
		return nil, err
	}
	there, err := remaining(ctx, t.Sockets)
	if err != nil {
		return nil, err
	}
	t.Sockets = there
	input, err := json.Marshal(describe(t))
	if err != nil {
		return nil, fmt.Errorf("describe finding: %w", err)
	}
	return &effect{
		what: "exec " + a.program, argv: []string{a.program}, timeout: a.timeout, input: append(input, '\n'),
		proves: func(ctx context.Context) error { return anyRemains(ctx, there) },
	}, nil
}

// Command is an effect that runs a program of the system and can stop it.
type Command interface {
	actions.Effect
	actions.Stopper
}

// NewCommand returns the effect of running a program of the system with arguments and
// nothing on standard input. It is for actions that are such a command and look for their
// target themselves. what says in the imperative what it does.
func NewCommand(what string, timeout time.Duration, program string, args ...string) (Command, error) {
	var errs error
	for dir := range strings.SplitSeq(leash.Path, ":") {
		path := filepath.Join(dir, program)
		err := trust.Program(path)
		if err == nil {
			return &effect{what: what, argv: append([]string{path}, args...), timeout: timeout}, nil
		}
		errs = errors.Join(errs, err)
	}
	return nil, fmt.Errorf("%s is not in %s: %w", program, leash.Path, flat{errs})
}

// flat puts an error of several lines on one.
type flat struct{ error }

func (f flat) Error() string { return strings.ReplaceAll(f.error.Error(), "\n", "; ") }

func (f flat) Unwrap() error { return f.error }

// describe returns the object that the program reads.
func describe(t actions.Target) map[string]any {
	sockets := make([]map[string]any, len(t.Sockets))
	for i := range t.Sockets {
		s := &t.Sockets[i]
		var owner *collectors.Owner
		if len(s.Facts.Owners) > 0 {
			owner = &s.Facts.Owners[0]
		}
		r := collectors.NewRecord(&s.Socket, &s.Namespace, &s.Facts, owner, t.Host)
		sockets[i] = collectors.Map(&r)
		if len(s.Listeners) > 0 {
			sockets[i]["listeners"] = listeners(s)
		}
		if owner != nil && len(owner.ContainerLabels) > 0 {
			sockets[i]["container_labels"] = owner.ContainerLabels
		}
	}
	labels := t.Labels
	if labels == nil {
		labels = map[string]string{}
	}
	return map[string]any{"rule": t.Rule, "labels": labels, "host": t.Host, "sockets": sockets}
}

// listeners are those that a connection waits for, each with the processes that listen: it
// has none of its own yet.
func listeners(s *actions.Sealed) (all []map[string]any) {
	for i := range s.Listeners {
		l := &s.Listeners[i]
		var owners []map[string]any
		for k := range l.Owners {
			o := &l.Owners[k]
			owners = append(owners, map[string]any{"pid": o.PID, "process": o.Name, "unit": o.Unit, "container_id": o.Container})
		}
		all = append(all, map[string]any{"local_addr": l.Socket.Local.Netip().String(), "port": l.Socket.LocalPort, "owners": owners})
	}
	return all
}
