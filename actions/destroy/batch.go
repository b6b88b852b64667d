package destroy

import (
	"context"
	"errors"
	"slices"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/stuck"
)

// maxHung is how many requests, each with a thread, may be left behind in the kernel
// before we give up on the rest.
const maxHung = 2

// member is an effect and its index in a batch.
type member struct {
	i int
	*effect
}

// PrepareAll is Prepare for each target, with one connection per namespace and many
// look-ups at a time.
func (a action) PrepareAll(ctx context.Context, targets []actions.Target) []actions.Prepared {
	out := make([]actions.Prepared, len(targets))
	var members []member
	for i, t := range targets {
		if len(t.Sockets) != 1 || t.Sockets[0].Socket.Protocol == collectors.MPTCP {
			out[i].Alone = true // Prepare will say what is wrong
			continue
		}
		members = append(members, member{i, a.effect(t)})
	}
	lookAll(ctx, members, func(m member, now *collectors.Socket, err error) {
		if errors.Is(err, collectors.ErrNotSupported) || errors.Is(err, collectors.ErrNotPermitted) {
			out[m.i].Alone = true // the other way may work
			return
		}
		if err == nil {
			err = m.decidedOn(now)
		}
		if err != nil {
			out[m.i] = actions.Prepared{Err: err}
			return
		}
		out[m.i] = actions.Prepared{Effect: m.effect, Now: now}
	})
	return out
}

// ApplyAll destroys exactly the sockets with those cookies, many at a time.
func (a action) ApplyAll(ctx context.Context, effects []actions.Effect) []actions.Outcome {
	out := make([]actions.Outcome, len(effects))
	members := own(effects)
	late := false
	for _, group := range perNamespace(members) {
		var errs []error
		blind := false
		if !late {
			err := group[0].with(func(c *sockdiag.Conn) error {
				errs = c.DestroyAll(ctx, sockets(group))
				return nil
			})
			if err != nil {
				errs = slices.Repeat([]error{err}, len(group))
			}
		} else {
			errs = slices.Repeat([]error{sockdiag.ErrNotAsked}, len(group))
		}
		for k, m := range group {
			late = late || stuck.In(errs[k]) != nil
			switch {
			case errors.Is(errs[k], sockdiag.ErrNotAsked): // by now their last look is too old
				out[m.i] = actions.Outcome{Result: actions.Failed, Err: actions.ErrNotBegun}
			case ctx.Err() != nil && errs[k] != nil && errors.Is(errs[k], ctx.Err()):
				out[m.i] = actions.Outcome{Result: actions.Failed, Err: context.Cause(ctx)} // it was not begun
			default:
				out[m.i] = m.applied(ctx, errs[k], &blind)
			}
		}
	}
	return out
}

// own returns the effects that PrepareAll of this package made.
func own(effects []actions.Effect) []member {
	var members []member
	for i, e := range effects {
		if e, ok := e.(*effect); ok {
			members = append(members, member{i, e})
		}
	}
	return members
}

// VerifyAll looks at all sockets together.
func (a action) VerifyAll(ctx context.Context, effects []actions.Effect, holds actions.Holds) []actions.Outcome {
	out := make([]actions.Outcome, len(effects))
	var members []member
	for _, m := range own(effects) {
		if m.other == nil {
			members = append(members, m)
			continue
		}
		out[m.i] = m.Verify(ctx) // it was aborted instead
	}
	lookAll(ctx, members, func(m member, now *collectors.Socket, err error) { out[m.i] = m.verified(now, err, holds) })
	return out
}

// lookAll looks up the sockets and passes each record, or error, to found.
func lookAll(ctx context.Context, members []member, found func(m member, now *collectors.Socket, err error)) {
	for _, group := range perNamespace(members) {
		for hung := 0; len(group) > 0; hung++ {
			var now []collectors.Socket
			var errs []error
			err := group[0].with(func(c *sockdiag.Conn) error {
				now, errs = c.GetAll(ctx, sockets(group))
				return nil
			})
			if err != nil {
				now, errs = make([]collectors.Socket, len(group)), slices.Repeat([]error{err}, len(group))
			}
			var left []member
			for k, m := range group {
				if errors.Is(errs[k], sockdiag.ErrNotAsked) && hung < maxHung {
					left = append(left, m)
					continue
				}
				if now[k].NetNS == 0 {
					now[k].NetNS = m.sealed.Socket.NetNS
				}
				found(m, &now[k], errs[k])
			}
			group = left
		}
	}
}

// perNamespace groups effects by the namespaces of their sockets.
func perNamespace(members []member) [][]member {
	var groups [][]member
	place := map[uint64]int{}
	for _, m := range members {
		ns := m.sealed.Socket.NetNS
		g, ok := place[ns]
		if !ok {
			g = len(groups)
			place[ns], groups = g, append(groups, nil)
		}
		groups[g] = append(groups[g], m)
	}
	return groups
}

func sockets(group []member) []*collectors.Socket {
	socks := make([]*collectors.Socket, len(group))
	for i, m := range group {
		socks[i] = &m.sealed.Socket
	}
	return socks
}
