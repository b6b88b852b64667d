package engine

import (
	"context"
	"errors"
	"fmt"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/sockdiag"
	"sockwarden/rules"
)

// Preflight finds out, without touching anything, whether this process could
// act as the program wants. The error is ErrNotPermitted, naming the missing
// capability, or ErrNotSupported.
func Preflight(ctx context.Context, p *rules.Program) error {
	var acts []*actions.Bound
	for _, r := range p.Rules {
		for i := range r.Then {
			if b := Bound(&r.Then[i]); r.Mode == rules.ModeEnforce && !b.Harmless {
				acts = append(acts, b)
			}
		}
	}
	if len(acts) == 0 {
		return nil
	}
	if err := named(ctx, p.Query.Protocols); err != nil {
		return err
	}
	for _, b := range acts {
		err := b.Preflight(ctx)
		if errors.Is(err, collectors.ErrNotPermitted) || errors.Is(err, collectors.ErrNotSupported) {
			return err // what else is wrong the run itself finds
		}
	}
	return nil
}

// named is ErrNotSupported if the kernel tells the cookies of no sockets that the
// program is about, without which nothing is acted on.
func named(ctx context.Context, protocols []collectors.Protocol) error {
	c, err := sockdiag.Dial(-1)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	for _, protocol := range protocols {
		if err = c.Handled(ctx, protocol); err == nil || !errors.Is(err, collectors.ErrNotSupported) {
			return nil // what else is wrong the run itself finds
		}
	}
	if err != nil {
		return fmt.Errorf("%w: load the modules tcp_diag and udp_diag (modprobe)", err)
	}
	return nil
}
