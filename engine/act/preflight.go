package act

import (
	"context"
	"errors"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/catalog"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// Preflight finds out, without touching anything, whether this process could
// act as the program wants. The error is ErrNotPermitted, naming the missing
// capability, or ErrNotSupported.
func Preflight(ctx context.Context, p *rules.Program) error {
	var acts []*actions.Bound
	for _, r := range p.Rules {
		for i := range r.Then {
			if b := catalog.Bound(&r.Then[i]); r.Mode == rules.ModeEnforce && !b.Harmless {
				acts = append(acts, b)
			}
		}
	}
	if len(acts) == 0 {
		return nil
	}
	if err := world.Named(ctx, p.Query.Protocols); err != nil {
		return err
	}
	for _, b := range acts {
		err := b.Preflight(ctx)
		if errors.Is(err, collectors.ErrNotPermitted) || errors.Is(err, collectors.ErrNotSupported) {
			return err // the run itself finds any other problem
		}
	}
	return nil
}
