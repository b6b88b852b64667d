package actions

// Bound is an action with its parameters, made once for each rung of a ladder.
type Bound struct {
	*Plugin
	// Params are the parameters that it was made with.
	Params map[string]any
	// Action is what New made of them.
	Action Action
	// Allowed is what they opt in to.
	Allowed Permissions
}

// Bind makes the action for parameters. The error says what is wrong with them.
func (p *Plugin) Bind(params map[string]any) (*Bound, error) {
	action, err := p.New(params)
	if err != nil {
		return nil, err
	}
	return &Bound{Plugin: p, Params: params, Action: action, Allowed: p.Allows(params)}, nil
}

// Usable returns why it could not be done on any target here, nil if it is not known
// that it could not.
func (b *Bound) Usable() error {
	if d, ok := b.Action.(Dependent); ok {
		return d.Usable()
	}
	return nil
}
