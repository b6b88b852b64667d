package exec

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"sockwarden/actions"
)

const (
	// tryLater is the exit code of a program that asks for another try (EX_TEMPFAIL of
	// sysexits.h).
	tryLater = 75
	// glance is how often we look whether somebody wants us to stop.
	glance = 200 * time.Millisecond
)

// Notifier returns the registration of the notifier: a program that gets each message.
func Notifier() actions.NotifierPlugin {
	return actions.NotifierPlugin{
		Name:    "exec",
		Summary: "runs a program with one message per rule and cycle as JSON on standard input",
		Doc: "The message is that of the webhook's format generic. No shell, a clean environment (PATH, LANG=C). Exit code 0 is delivered, 75 is " +
			"tried again later, any other is not delivered; after timeout it is killed with everything that it started.",
		Needs: "an executable file that only root and the running user can write, in directories that only they can write",
		Params: append([]actions.Param{
			{Name: "program", Type: "string", Program: true, Doc: "absolute path"},
			{Name: "timeout", Type: "duration", Doc: "how long it may run (default 10s)"},
		}, actions.DeliveryParams()...),
		New: func(params map[string]any) (actions.Notifier, error) {
			if _, err := actions.DeliveryOf(params); err != nil {
				return nil, err
			}
			a, err := newAction(params)
			if err != nil {
				return nil, err
			}
			return notifier{a.(action)}, nil //nolint:forcetypeassert // newAction makes no other
		},
	}
}

type notifier struct{ action }

// Send runs the program, and waits for its end.
func (n notifier) Send(ctx context.Context, m actions.Message) error {
	ctx = actions.Attempt(ctx)
	if err := n.Preflight(ctx); err != nil {
		return err
	}
	input, err := json.Marshal(m.Whole())
	if err != nil {
		return &actions.FinalError{Err: fmt.Errorf("message: %w", err)}
	}
	e := &effect{argv: []string{n.program}, timeout: n.timeout, input: append(input, '\n')}
	out := e.Apply(ctx)
	for out.Result == actions.Done && e.outcome == nil || out.Pending {
		if out = e.await(glance); out.Pending && ctx.Err() != nil {
			e.Stop(ctx)
			return fmt.Errorf("%s: %w", n.program, context.Cause(ctx))
		}
	}
	switch {
	case out.Result == actions.Done:
		return nil
	case e.status.Exited() && e.status.ExitStatus() == tryLater || e.running == nil:
		return fmt.Errorf("%s: %w", n.program, out.Err)
	}
	return &actions.FinalError{Err: fmt.Errorf("%s: %w", n.program, out.Err)}
}
