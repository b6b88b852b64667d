package rules

import (
	"slices"
	"strings"

	"sockwarden/collectors"
	"sockwarden/rules/lang"
)

// climbing are the results after which a ladder goes on by itself.
var climbing = []string{"refused", "failed", "still_running"}

// lintLadder warns about rungs that are certainly never reached, because of the results
// that the actions before them can have.
func lintLadder(r *rawRule, rule *Rule, warn warner) {
	var before []string // the results that can be there when a rung is looked at
	said := ""          // the actions that can have had them
	for i := range rule.Then {
		rung := &rule.Then[i]
		reached := i == 0
		var left []string
		for _, result := range before {
			v := rung.startsAfter(result)
			reached = reached || v != False
			// A rung whose condition does not hold takes the next ones without a
			// condition with it.
			if v != True && (!rung.looksAt(result) || i+1 < len(rule.Then) && rule.Then[i+1].If != nil) {
				left = append(left, result)
			}
		}
		switch {
		case !reached && rung.ReadsResult():
			warn(idUnreachedRung, r.then[i].at, 0, "rule %q: %s is never reached: %s before it ends with %s, and its if asks for something else",
				rule.Name, rung.Action, said, lang.Choices(before))
		case !reached:
			warn(idUnreachedRung, r.then[i].at, 0, "rule %q: %s is never reached: %s before it ends with %s, and a ladder goes on by itself only after %s: "+
				"give it if: result == %q, or a rule of its own%s",
				rule.Name, rung.Action, said, lang.Choices(before), lang.Choices(climbing), before[0], leaveOut(said))
		case r.then[i].results == nil:
			return // anything can follow
		default:
			left = append(left, r.then[i].results...)
			said = strings.TrimPrefix(said+" and "+rung.Action, " and ")
		}
		slices.Sort(left)
		if before = slices.Compact(left); len(before) == 0 {
			return
		}
	}
}

// leaveOut is advice for people who only want to know what is done.
func leaveOut(said string) string {
	if said != "log" {
		return ""
	}
	return ". Every action is logged anyway: you can leave log out"
}

// looksAt reports whether the rung is looked at after that result of the one before.
func (r *Rung) looksAt(result string) bool {
	return slices.Contains(climbing, result) || r.ReadsResult()
}

// startsAfter says whether the rung is started after that result, if its condition
// depends on nothing else.
func (r *Rung) startsAfter(result string) Tri {
	switch {
	case !r.looksAt(result):
		return False
	case r.If == nil:
		return True
	case !r.If.Reads.Empty() || len(r.If.Uses) > 0 || !r.If.ReadsResult():
		return Unknown // variables can be set from the command line
	}
	return r.If.Eval(&collectors.Record{Result: result})
}
