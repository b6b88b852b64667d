package scripted

import (
	"context"

	"sockwarden/actions"
)

// Script is an action that does what a test says, and records what it was asked to do.
type Script struct {
	Name  string
	Scope actions.Scope
	// Program, Harmless and WithoutSocket are as in actions.Plugin.
	Program, Harmless, WithoutSocket bool
	// Refuses says why a target cannot be prepared; nil if all can.
	Refuses func(actions.Target) error
	// Does gives the outcome of an effect, and Looks the outcome when it is verified; if
	// nil, Looks gives the same.
	Does, Looks func(actions.Target) Outcome
	// Stops ends a running effect; nil if nothing can stop it.
	Stops func(actions.Target) Outcome

	// Prepared and Applied are the targets, in order.
	Prepared, Applied []actions.Target
}

// Coming is a script whose effects have these outcomes one after the other; the last one
// repeats.
func Coming(name string, all ...Outcome) *Script {
	s := &Script{Name: name}
	s.Does = func(actions.Target) Outcome { return all[min(len(s.Applied), len(all))-1] }
	return s
}

// Plugin is the registration of the script.
func (s *Script) Plugin() actions.Plugin {
	return actions.Plugin{
		Name: s.Name, Summary: "for tests", Scope: s.Scope, Program: s.Program, Harmless: s.Harmless, WithoutSocket: s.WithoutSocket,
		Params: []actions.Param{
			{Name: "listen", Type: "bool", Allows: actions.AllowListen},
			{Name: "udp", Type: "bool", Allows: actions.AllowUDP},
			{Name: "owners", Type: "string", Allows: actions.AllowAllOwners, AllowsBy: "all"},
		},
		New: func(map[string]any) (actions.Action, error) { return s, nil },
	}
}

// Prepare records the target.
func (s *Script) Prepare(_ context.Context, t actions.Target) (actions.Effect, error) {
	s.Prepared = append(s.Prepared, t)
	if s.Refuses != nil {
		if err := s.Refuses(t); err != nil {
			return nil, err
		}
	}
	if s.Stops != nil {
		return &stoppable{scriptEffect{s, t}}, nil
	}
	return &scriptEffect{s, t}, nil
}

type scriptEffect struct {
	*Script
	target actions.Target
}

func (e *scriptEffect) String() string { return e.Name }

func (e *scriptEffect) Apply(context.Context) Outcome {
	e.Applied = append(e.Applied, e.target)
	return e.Does(e.target)
}

func (e *scriptEffect) Verify(context.Context) Outcome {
	if e.Looks == nil {
		return e.Does(e.target)
	}
	return e.Looks(e.target)
}

type stoppable struct{ scriptEffect }

func (e *stoppable) Stop(context.Context) Outcome { return e.Stops(e.target) }
