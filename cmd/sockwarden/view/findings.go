package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sockwarden/actions"
	"sockwarden/engine"
)

const (
	maxEach   = 25 // findings shown one by one
	maxGroups = 20 // lines of groups
)

// Rows says how many lines a report gets.
type Rows struct {
	Each bool // a line for each socket, however many
	All  bool // every group
}

// label is the first column of a finding.
func label(f *engine.Finding) string {
	last := f.Last().Result
	switch {
	case f.Decision == engine.DecideAct && last == actions.Would:
		return "would act"
	case f.Decision == engine.DecideAct && last != "":
		return string(last)
	}
	return string(f.Decision)
}

// severity orders the lines: failures first, what is only limited last.
func severity(f *engine.Finding) int {
	last := f.Last().Result
	switch {
	case f.Decision == engine.DecideAct && (last == actions.Would || last.Succeeded() && last != actions.FDStillHeld):
		return 2
	case f.Decision == engine.DecideAct && last == actions.FDStillHeld:
		return 1
	case f.Decision == engine.DecideAct && last == actions.Changed:
		return 3
	case f.Decision == engine.DecideAct:
		return 0
	case f.Decision.Observes():
		return 4
	}
	return 5
}

// inTable reports whether a finding gets a line; the others are only counted.
func inTable(f *engine.Finding) bool {
	switch f.Decision { //nolint:exhaustive // the others do not
	case engine.DecideAct, engine.DecideObserve, engine.DecideSoak, engine.DecideCanary, engine.DecideLimited, engine.DecideBreaker:
		return true
	}
	return false
}

func actionText(f *engine.Finding) string {
	var parts []string
	for _, r := range f.Actions {
		text := r.Text(f)
		if len(f.Actions) > 1 && r.Result != actions.Would {
			text += " " + string(r.Result)
		}
		switch {
		case r.Error != "":
			text += " (" + r.Error + ")"
		case r.Detail != "" && r.Result != actions.FDStillHeld:
			text += " (" + r.Detail + ")"
		}
		parts = append(parts, text)
	}
	// The reason why a breaker has tripped stands above, once.
	if len(parts) == 0 && f.Decision != engine.DecideAct && f.Decision != engine.DecideObserve && f.Decision != engine.DecideBreaker {
		return f.Reason
	}
	if len(parts) == 0 {
		for _, rung := range f.Rule.Then[:min(1, len(f.Rule.Then))] {
			parts = append(parts, rung.Action)
		}
	}
	return strings.Join(parts, ", ")
}

// inTables returns the findings of a report that get a line.
func inTables(r *engine.Report) (shown []*engine.Finding) {
	for _, f := range r.Findings {
		if inTable(f) {
			shown = append(shown, f)
		}
	}
	return shown
}

// one reports whether, with so many findings, each gets its own line.
func (r Rows) one(findings int) bool { return r.Each || findings <= maxEach }

// findings writes the table of what was or would be done; false if it is empty.
func findings(o Out, r *engine.Report, rows Rows) bool {
	shown := inTables(r)
	if len(shown) == 0 {
		return false
	}
	slices.SortStableFunc(shown, func(x, y *engine.Finding) int { return cmp.Compare(severity(x), severity(y)) })
	first := "DECISION"
	if r.Mode == "live" {
		first = "RESULT"
	}
	if rows.one(len(shown)) {
		eachFinding(first, shown).write(o)
		return true
	}
	groups := groupFindings(shown, func(f *engine.Finding) string { return label(f) + "\x00" + actionText(f) }, localPort)
	slices.SortStableFunc(groups, func(x, y *group) int {
		return cmp.Or(cmp.Compare(severity(x.first()), severity(y.first())), cmp.Compare(len(y.findings), len(x.findings)))
	})
	more := 0
	if len(groups) > maxGroups && !rows.All {
		more = len(groups) - maxGroups
	}
	eachGroup(first, groups[:len(groups)-more]).write(o)
	if more > 0 {
		o.say("... %s (--all)", Count(more, "more group"))
	}
	return true
}

func eachFinding(first string, shown []*engine.Finding) *table {
	t := newTable(first, "RULE", "STATE", "PORT", "PEER", "PROCESS", "WHERE", "AGE", "IDLE", "ACTION")
	for _, f := range shown {
		c := f.Candidate
		t.row(label(f), f.Rule.Name, stateText(c), localPort(c), peer(c), processText(c), where(c), ageText(c.Facts.Age), idleText(f), actionText(f))
	}
	return t
}

func eachGroup(first string, groups []*group) *table {
	t := newTable(first, "RULE", "COUNT", "STATE", "PORT", "PROCESS", "WHERE", "OLDEST", "IDLE", "ACTION")
	for _, g := range groups {
		f := g.first()
		t.row(label(f), f.Rule.Name, fmt.Sprint(len(g.findings)), g.state(), g.port, g.process(), g.where(), g.oldest(), g.idlest(), actionText(f))
	}
	return t
}
