package actions

import "context"

// Bound is an action with its parameters, bound once for each rung of a ladder.
type Bound struct {
	*Plugin
	// Params are the parameters.
	Params map[string]any
	// Action is what New made from them.
	Action Action
	// Allowed is what they opt in to.
	Allowed Permissions
	// Needed is what it needs from the host with these parameters.
	Needed []Need
}

// Bind makes the action for the parameters. The error says what is wrong with them.
func (p *Plugin) Bind(params map[string]any) (*Bound, error) {
	action, err := p.New(params)
	if err != nil {
		return nil, err
	}
	return &Bound{Plugin: p, Params: params, Action: action, Allowed: p.Allows(params), Needed: p.NeedsOf(params)}, nil
}

// Preflight returns why the action cannot work for any target here, nil if it knows no
// reason.
func (b *Bound) Preflight(ctx context.Context) error {
	if p, ok := b.Action.(Preflighter); ok {
		return p.Preflight(ctx)
	}
	return nil
}

// ProgramFile returns the program of the host that the parameters name, "" for none.
func (b *Bound) ProgramFile() string {
	for i := range b.Plugin.Params {
		if q := &b.Plugin.Params[i]; q.Program {
			name, _ := b.Params[q.Name].(string)
			return name
		}
	}
	return ""
}
