// Package repair turns on keepalive for another process's connection, so that the kernel
// finds out whether the peer still exists.
//
// Comes in: one TCP connection with an owner. Goes out: what was set before, and that
// keepalive is set now. If the peer is dead, the owner gets ETIMEDOUT and closes; if it
// is alive, it answers, and nothing is lost.
package repair

import (
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
		Summary: "turns on keepalive for the connection, which finds out a dead peer",
		Doc: "Sets SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT and, if given, TCP_USER_TIMEOUT on the owner's socket. " +
			"If the peer is dead, the program gets ETIMEDOUT and can close; if it is alive, nothing is lost. " +
			"The kernel probes only while no data waits to be acknowledged: user_timeout is for data that does. " +
			"A user_timeout, set by this or by the program, ends the connection in place of count. " +
			"It counts from the last sign of the peer: one shorter than the silence so far plus the time of the probes would end " +
			"a live connection at the first lost probe, and is not set; if the program has set such a one, nothing is. " +
			"The result is repaired, or unchanged if everything was set already or was left alone.",
		Needs: ownersock.Needs(),
		Params: []actions.Param{
			{Name: "idle", Type: "duration", Doc: "silence before the first probe (default 60s)"},
			{Name: "interval", Type: "duration", Doc: "between two probes (default 10s)"},
			{Name: "count", Type: "number", Doc: "unanswered probes that end the connection (default 6)"},
			{Name: "user_timeout", Type: "duration", Doc: "how long sent data may stay unacknowledged, more than idle + count * interval (default: not set)"},
		},
		Scope:   actions.ScopeOwnedSocket,
		Results: ownersock.Results(),
		Gentle:  true,
		Warn:    warn,
		New:     newAction,
	}
}

// settings are the options in the kernel's units.
type settings struct {
	on                    bool
	idle, interval, count int // seconds, seconds, probes
	userTimeout           int // milliseconds, 0 for the system's
}

// maxUserTimeout keeps clear of the kernel's int of milliseconds, 596 hours.
const maxUserTimeout = 500 * time.Hour

// warn says if a user_timeout would never be set.
func warn(params map[string]any, _ *collectors.Query, silent time.Duration) string {
	a, err := newAction(params)
	if err != nil {
		return ""
	}
	want := a.(action).want //nolint:forcetypeassert // newAction makes no other
	switch least := want.probing() + int(silent.Milliseconds()); {
	case want.userTimeout == 0 || want.userTimeout > least:
		return ""
	case want.userTimeout > want.probing():
		return fmt.Sprintf("user_timeout %s is never set: the kernel counts it from the last sign of the peer, and the rule waits for %s of silence: it would have to be more than %s",
			millis(want.userTimeout), silent, millis(least))
	}
	return fmt.Sprintf("user_timeout %s is never set: the first lost probe would end a live connection, unless it is more than idle + count * interval (%s)",
		millis(want.userTimeout), millis(want.probing()))
}

func newAction(params map[string]any) (actions.Action, error) {
	want := settings{on: true, idle: 60, interval: 10, count: 6}
	// The kernel's limits: MAX_TCP_KEEPIDLE and the like (include/net/tcp.h).
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
	plan := func(fd int) (*ownersock.Plan, error) {
		p, err := want.planFor(fd)
		return p.steps(), err
	}
	return action{ownersock.Setter{Name: "repair", States: withPeer, Plan: plan, Proc: procfs.New("")}, want}, nil
}

// action sets its options where that cannot cost a live peer.
type action struct {
	ownersock.Setter
	want settings
}

// withPeer are the states in which the kernel sends keepalive probes; in FIN_WAIT1 only
// after the FIN is acknowledged.
var withPeer = collectors.Mask(collectors.Established, collectors.CloseWait, collectors.FinWait1, collectors.FinWait2)

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
	// Last, so that even the first probe uses the new times.
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
