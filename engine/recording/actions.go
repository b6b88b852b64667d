package recording

import (
	"context"
	"errors"
	"slices"

	"sockwarden/actions"
)

// Actions returns the given actions, with the same parameters and guards, for rules that
// look at a recording: they only say what they would do, and ask no host.
func Actions(real ...actions.Plugin) []actions.Plugin {
	made := slices.Clone(real)
	for i := range made {
		p := &made[i]
		name, main, check := p.Name, p.Main, p.New
		p.New = func(params map[string]any) (actions.Action, error) {
			if _, err := check(params); err != nil {
				return nil, err
			}
			called := name
			if value, ok := params[main].(string); ok && main != "" {
				called += " " + value
			}
			return action(called), nil
		}
	}
	return made
}

// action says what it would do, by its name and main parameter.
type action string

// Prepare never fails: whether it would have been possible only the host knew.
func (a action) Prepare(context.Context, actions.Target) (actions.Effect, error) {
	return effect(a), nil
}

type effect string

func (e effect) String() string { return string(e) }

var errRecording = errors.New("nothing is ever done to a recording")

// Apply does nothing.
func (effect) Apply(context.Context) actions.Outcome {
	return actions.Outcome{Result: actions.Failed, Err: errRecording}
}

// Verify does nothing.
func (effect) Verify(context.Context) actions.Outcome {
	return actions.Outcome{Result: actions.Failed, Err: errRecording}
}
