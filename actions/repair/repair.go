// Package repair turns keepalive on for another process's connection, so that
// the kernel finds out whether the peer is still there.
//
// Comes in: one TCP connection with an owner. Goes out: what was set before, and
// that it is set now. A dead peer then gives the owner ETIMEDOUT, and it closes;
// a live one answers, and nothing is lost.
package repair

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/actions/ownersock"
	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
)

// Plugin returns the registration of the action.
func Plugin() actions.Plugin {
	return actions.Plugin{
		Name:    "repair",
		Summary: "turns keepalive on for the connection, so that a dead peer is found out",
		Doc: "Sets SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT and, if given, TCP_USER_TIMEOUT on the owner's socket. " +
			"With a dead peer the program gets ETIMEDOUT and can close; with a live one nothing is lost. " +
			"Probes are sent only while nothing waits to be acknowledged: user_timeout is for what does. Where a user_timeout is set, by this or by the program, it ends the connection in place of count. " +
			"It counts from the last sign of the peer: one that is less than the silence so far and the probes take would end a live connection at the first lost probe, and is not set; where the program has set such a one, nothing is. " +
			"The result is repaired, or unchanged if all was set already or is left alone.",
		Needs: ownersock.Needs(),
		Params: []actions.Param{
			{Name: "idle", Type: "duration", Doc: "silence before the first probe (default 60s)"},
			{Name: "interval", Type: "duration", Doc: "between two probes (default 10s)"},
			{Name: "count", Type: "number", Doc: "unanswered probes that end the connection (default 6)"},
			{Name: "user_timeout", Type: "duration", Doc: "how long sent data may stay unacknowledged, more than idle + count * interval (default: not set)"},
		},
		Scope:   actions.ScopeOwnedSocket,
		Results: []actions.Result{actions.Repaired, actions.Unchanged, actions.Refused, actions.Failed},
		Gentle:  true,
		Warn:    warn,
		New:     newAction,
	}
}

// settings are the options in the units of the kernel.
type settings struct {
	on                    bool
	idle, interval, count int // seconds, seconds, probes
	userTimeout           int // milliseconds, 0 for the system's
}

// maxUserTimeout keeps clear of the kernel's int of milliseconds, 596 hours.
const maxUserTimeout = 500 * time.Hour

// warn says that a user_timeout is never set.
func warn(params map[string]any, _ *collectors.Query) string {
	a, err := newAction(params)
	if err != nil {
		return ""
	}
	want := a.(action).want //nolint:forcetypeassert // newAction makes no other
	if want.userTimeout == 0 || want.userTimeout > want.probing() {
		return ""
	}
	return fmt.Sprintf("user_timeout %s is never set, it is not more than idle + count * interval (%s): a live peer would be lost with the first lost probe",
		millis(want.userTimeout), millis(want.probing()))
}

func newAction(params map[string]any) (actions.Action, error) {
	want := settings{on: true, idle: 60, interval: 10, count: 6}
	// The limits of the kernel: MAX_TCP_KEEPIDLE and its like (include/net/tcp.h).
	for _, p := range []struct {
		name string
		to   *int
		max  int
	}{{"idle", &want.idle, 32767}, {"interval", &want.interval, 32767}} {
		if d, ok := params[p.name].(time.Duration); ok {
			*p.to = int(d / time.Second)
			if *p.to < 1 || *p.to > p.max || d%time.Second != 0 {
				return nil, fmt.Errorf("%s is between 1s and %ds in whole seconds, not %s", p.name, p.max, d)
			}
		}
	}
	if n, ok := params["count"].(float64); ok {
		want.count = int(n)
		if want.count < 1 || want.count > 127 || float64(want.count) != n {
			return nil, fmt.Errorf("count is a whole number between 1 and 127, not %v", n)
		}
	}
	if d, ok := params["user_timeout"].(time.Duration); ok {
		if d < time.Second || d > maxUserTimeout {
			return nil, fmt.Errorf("user_timeout is between 1s and %s, not %s", maxUserTimeout, d)
		}
		want.userTimeout = int(d / time.Millisecond)
	}
	return action{want, procfs.New("")}, nil
}

type action struct {
	want settings
	proc *procfs.FS
}

// Prepare looks whether the owner still has the connection in its state, and
// reads what is set.
func (a action) Prepare(_ context.Context, t actions.Target) (actions.Effect, error) {
	s, err := ownersock.One(t, "repair")
	if err != nil {
		return nil, err
	}
	if !hasPeer(s.Socket.State) {
		return nil, fmt.Errorf("repair is for connections, not for %s", s.Socket.State)
	}
	e := &effect{action: a, sealed: s}
	err = ownersock.With(a.proc, s, func(fd int) (err error) {
		if err := ownersock.Same(fd, &s.Socket); err != nil {
			return err
		}
		e.plan, err = e.planFor(fd)
		return err
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// hasPeer reports whether keepalive probes are sent in a state; in FIN_WAIT1,
// once the FIN is acknowledged.
func hasPeer(s collectors.State) bool {
	switch s { //nolint:exhaustive // in the others the kernel sends none
	case collectors.Established, collectors.CloseWait, collectors.FinWait1, collectors.FinWait2:
		return true
	}
	return false
}

type effect struct {
	action
	sealed *actions.Sealed
	plan
}

func (e *effect) String() string { return "repair" }

// Apply sets the options.
func (e *effect) Apply(context.Context) actions.Outcome {
	err := ownersock.With(e.proc, e.sealed, func(fd int) (err error) {
		if err := ownersock.Same(fd, &e.sealed.Socket); err != nil {
			return err
		}
		if e.plan, err = e.planFor(fd); err != nil || e.alone != "" || e.before.satisfies(e.goal) {
			return err
		}
		return e.goal.write(fd)
	})
	if err != nil {
		return actions.OutcomeOf(err)
	}
	return e.outcome()
}

// Verify reads the options again.
func (e *effect) Verify(context.Context) actions.Outcome {
	var now settings
	err := ownersock.With(e.proc, e.sealed, func(fd int) (err error) {
		now, err = read(fd)
		return err
	})
	switch {
	case errors.Is(err, collectors.ErrGone):
		return e.outcome() // closed meanwhile, as is the purpose
	case err != nil:
		return actions.OutcomeOf(err)
	case e.alone == "" && !now.satisfies(e.goal):
		return actions.Outcome{Result: actions.Refused, Detail: "its owner has set it again: " + now.String()}
	}
	return e.outcome()
}

func (e *effect) outcome() actions.Outcome {
	switch {
	case e.alone != "":
		return actions.Outcome{Result: actions.Unchanged, Detail: e.alone}
	case e.before.satisfies(e.goal):
		return actions.Outcome{Result: actions.Unchanged, Detail: e.before.String() + e.without}
	}
	return actions.Outcome{Result: actions.Repaired, Detail: "before: " + e.before.String() + e.without}
}

func (s settings) satisfies(want settings) bool {
	return s.on && s.idle == want.idle && s.interval == want.interval && s.count == want.count &&
		(want.userTimeout == 0 || s.userTimeout == want.userTimeout)
}

func (s settings) String() string {
	var parts []string
	if s.on {
		parts = append(parts, fmt.Sprintf("keepalive idle %ds interval %ds count %d", s.idle, s.interval, s.count))
	} else {
		parts = append(parts, "keepalive off")
	}
	if s.userTimeout > 0 {
		parts = append(parts, fmt.Sprintf("user_timeout %s", millis(s.userTimeout)))
	}
	return strings.Join(parts, ", ")
}

func read(fd int) (s settings, err error) {
	on, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE)
	s.on = on != 0
	for _, o := range s.options() {
		if err == nil {
			*o.value, err = unix.GetsockoptInt(fd, unix.IPPROTO_TCP, o.name)
		}
	}
	if err != nil {
		return s, ownersock.Classify("read socket options", err)
	}
	return s, nil
}

func (s settings) write(fd int) error {
	var err error
	for _, o := range s.options() {
		if err == nil && *o.value > 0 {
			err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, o.name, *o.value)
		}
	}
	// Last, so that the first probe already comes by the new times.
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	}
	if err != nil {
		return ownersock.Classify("set socket options", err)
	}
	return nil
}

type option struct {
	name  int
	value *int
}

func (s *settings) options() []option {
	return []option{
		{unix.TCP_KEEPIDLE, &s.idle},
		{unix.TCP_KEEPINTVL, &s.interval},
		{unix.TCP_KEEPCNT, &s.count},
		{unix.TCP_USER_TIMEOUT, &s.userTimeout},
	}
}
