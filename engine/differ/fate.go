package differ

import (
	"slices"
	"strings"

	"sockwarden/engine/judge"
	"sockwarden/engine/report"
	"sockwarden/rules"
)

// None is the decision about a socket that no rule takes.
const None report.Decision = "none"

// Fate is what becomes of a socket.
type Fate struct {
	Rule     string          `json:"rule,omitempty"` // "" if none takes it
	Decision report.Decision `json:"decision"`
	Reason   string          `json:"reason,omitempty"`
	Actions  []string        `json:"actions,omitempty"` // the ladder, if it is acted on
	then     []rules.Rung
}

func fateOf(f *judge.Case) Fate {
	if f == nil {
		return Fate{Decision: None}
	}
	fate := Fate{Rule: f.Rule.Name, Decision: f.Decision, Reason: f.Reason}
	if f.Decision == report.DecideAct {
		fate.then = f.Rule.Then
		for i := range f.Rule.Then {
			fate.Actions = append(fate.Actions, f.Rule.Then[i].String())
		}
	}
	return fate
}

// same reports whether the same becomes of a socket, whichever rule it is that does it.
func (f *Fate) same(o *Fate) bool {
	return f.Decision == o.Decision && slices.EqualFunc(f.then, o.then, func(a, b rules.Rung) bool { return a.Same(&b) })
}

func (f *Fate) key() string {
	return strings.Join(append([]string{f.Rule, string(f.Decision), f.Reason}, f.Actions...), "\x00")
}

// String says what becomes of the socket: "destroy, then signal TERM", "protect ssh",
// "none".
func (f *Fate) String() string {
	switch {
	case f.Decision == report.DecideAct && len(f.Actions) == 0:
		return "act: nothing"
	case f.Decision == report.DecideAct:
		return strings.Join(f.Actions, ", then ")
	case f.Decision == report.DecideGuarded, f.Decision == report.DecideLimited:
		return string(f.Decision) + ": " + f.Reason
	case f.Reason != "":
		return f.Reason
	}
	return string(f.Decision)
}
