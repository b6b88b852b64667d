package scripted

import (
	"context"
	"slices"

	"sockwarden/actions"
	"sockwarden/collectors"
)

// Outcome is the outcome of an effect.
type Outcome = actions.Outcome

// Effect is something that was done.
type Effect struct {
	Rule    string
	Action  string
	Called  string   // the action with its main parameter, as "signal TERM"
	Cookies []uint64 // of the sockets
	PID     int      // the process, 0 for none
}

// Actions returns the given actions, with the same parameters and guards, but they do
// what the script says and nothing to any host. Those that end a socket or a process end
// it here.
func (w *World) Actions(real ...actions.Plugin) []actions.Plugin {
	made := slices.Clone(real)
	for i := range made {
		p := &made[i]
		name, check := p.Name, p.New
		p.New = func(params map[string]any) (actions.Action, error) {
			if _, err := check(params); err != nil {
				return nil, err
			}
			a := &action{w: w, name: name, called: name}
			if main, ok := params[p.Main].(string); ok && p.Main != "" {
				a.called += " " + main
			}
			return a, nil
		}
	}
	return made
}

type action struct {
	w      *World
	name   string
	called string // with its main parameter: "signal TERM"
}

func (a *action) Prepare(_ context.Context, t actions.Target) (actions.Effect, error) {
	return &effect{action: a, target: t}, nil
}

type effect struct {
	*action
	target actions.Target
	came   Outcome
}

func (e *effect) String() string { return e.called }

// Apply does what the script says.
func (e *effect) Apply(context.Context) Outcome {
	done := Effect{Rule: e.target.Rule, Action: e.name, Called: e.called}
	if e.target.Process != nil {
		done.PID = e.target.Process.PID
	}
	for i := range e.target.Sockets {
		done.Cookies = append(done.Cookies, e.target.Sockets[i].Socket.Cookie)
	}
	e.w.Done = append(e.w.Done, done)
	e.came = e.w.outcome(done)
	switch e.came.Result { //nolint:exhaustive // what ends something ends it
	case actions.Gone:
		e.w.sockets = slices.DeleteFunc(e.w.sockets, func(s *Socket) bool { return slices.Contains(done.Cookies, s.Cookie) })
	case actions.FDStillHeld:
		for _, s := range e.w.sockets {
			s.bare = s.bare || slices.Contains(done.Cookies, s.Cookie)
		}
	case actions.Ended:
		e.w.end(e.target.Process)
	case actions.StillRunning:
		return Outcome{Result: actions.Done} // it was sent; a later look sees whether it ends
	}
	return e.came
}

func (e *effect) Verify(context.Context) Outcome { return e.came }

// outcome takes the next outcome of an action.
func (w *World) outcome(done Effect) Outcome {
	if w.Comes != nil {
		if out, ok := w.Comes(done); ok {
			return out
		}
	}
	name := done.Action
	all := w.Outcomes[name]
	switch {
	case len(all) > 1:
		w.Outcomes[name] = all[1:]
		return all[0]
	case len(all) == 1:
		return all[0]
	case done.PID != 0:
		return Outcome{Result: actions.Ended}
	case name == "destroy" || name == "abort":
		return Outcome{Result: actions.Gone}
	}
	return Outcome{Result: actions.Done}
}

// end closes everything that only this process holds.
func (w *World) end(o *collectors.Owner) {
	for _, s := range slices.Clone(w.sockets) {
		s.Owners = slices.DeleteFunc(s.Owners, func(h collectors.Owner) bool { return o != nil && h.PID == o.PID })
		if len(s.Owners) == 0 && s.Inode != 0 {
			w.Remove(s)
		}
	}
}
