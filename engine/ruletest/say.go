package ruletest

import (
	"context"
	"slices"
	"time"

	"sockwarden/rules"
)

// Saying is what rules say of sockets of a test that have one name and fare alike.
type Saying struct {
	Socket string
	Count  int    // how many they are
	Rule   string // the rule that has them, "" for none
	// Decision is rules.ExpectNone if no rule takes them.
	Decision string
	Reason   string
	Actions  []string
	// For is how long the rule must match before it acts.
	For time.Duration
	// Why is the first part of a condition that is not true of the first of them; "" if
	// there is no more to say.
	Why string
}

// Say runs the first test of a text, as if that were the file at path, and returns what the
// rules say after each of its steps, whatever these expect. The error is rules.Problems if
// the text or the rules are wrong.
func Say(ctx context.Context, o Options, path, text string) ([][]Saying, error) {
	parsed, err := rules.ParseTests(path, text, Words(o.Actions))
	if err != nil {
		return nil, err
	}
	f, err := o.open(parsed)
	if err != nil {
		return nil, err
	}
	p, err := f.begin(0, nil)
	if err != nil {
		return nil, err
	}
	defer p.Close()
	var steps [][]Saying
	err = p.steps(ctx, f.selects[0], func(*rules.TestStep, []*selected, stepPlace) bool {
		steps = append(steps, p.sayings(ctx))
		return true
	})
	return steps, err
}

// sayings are in the order of the sockets; nobody comes last, and only if anything is said
// of it.
func (p *play) sayings(ctx context.Context) (all []Saying) {
	for _, a := range append(slices.Clone(p.actors), p.nobody) {
		one := Saying{Socket: a.said.Name, Decision: rules.ExpectNone, Actions: p.effects(a)}
		if f := p.main(a, ""); f != nil {
			one.Rule, one.Decision, one.Reason, one.For = f.Rule.Name, string(f.Decision), f.Reason, f.Rule.For
		} else if a == p.nobody {
			continue
		}
		at := slices.IndexFunc(all, func(s Saying) bool {
			return s.Socket == one.Socket && s.Rule == one.Rule && s.Decision == one.Decision && slices.Equal(s.Actions, one.Actions)
		})
		if at < 0 {
			at, all = len(all), append(all, one)
			all[at].Why = p.why(ctx, &rules.TestExpect{}, a)
		}
		all[at].Count++
	}
	return all
}
