package view

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"sockwarden/collectors"
	"sockwarden/engine"
)

// nearlyFull is the part of its limit from which on a process has many descriptors open.
const nearlyFull = 0.8

// notes says what else a reader should know: descriptor tables that fill up, ages that
// could not be proven, what was not seen.
func notes(o Out, r *engine.Report) {
	leaks(o, r)
	descriptors(o, r)
	for _, y := range r.Young {
		o.say("note: up to %d more will match `%s` within %s, if they stay as they are",
			y.Sockets, Printable(y.Rule.Name), span(math.Ceil(y.Within.Seconds())))
	}
	if r.AgeUnproven > 0 {
		o.say("note: the age of %s cannot be proven by one look; --observe 60s looks twice, and run and watch remember", Count(r.AgeUnproven, "socket"))
	}
	if r.OwnersHidden > 0 && !slices.ContainsFunc(r.Findings, guardedHidden) {
		o.say("note: owners of %s not visible: %s", Count(r.OwnersHidden, "socket"), r.HiddenWhy)
	}
	if r.Unseen > 0 {
		o.say("%s", unseenNote(r))
	}
}

// guardedHidden reports whether a finding is spared because its owner is not visible. The
// line about spared findings says so, why, and what helps.
func guardedHidden(f *engine.Finding) bool {
	return f.OwnerHidden() && f.Decision == engine.DecideGuarded && strings.Contains(f.Reason, "not visible")
}

// descriptors says which processes keep what was destroyed, or have nearly used up their
// descriptors.
func descriptors(o Out, r *engine.Report) {
	held := map[int]int{}
	owners := map[int]*collectors.Owner{}
	for _, f := range r.Findings {
		if f.Decision != engine.DecideAct {
			continue
		}
		for i := range f.Facts.Owners {
			owners[f.Facts.Owners[i].PID] = &f.Facts.Owners[i]
		}
		for _, k := range f.Last().Keepers {
			owners[k.PID] = &k
			held[k.PID]++
		}
	}
	for _, pid := range slices.Sorted(maps.Keys(owners)) {
		p := owners[pid]
		if n := held[pid]; n > 0 {
			of := ""
			if p.Known.Has(collectors.FieldFDLimit) {
				of = fmt.Sprintf(" (%d of %d)", p.FDs, p.FDLimit)
			}
			o.say("warning: %s[%d] still holds %s%s; only closing or restarting frees them", Printable(p.Name), pid, Count(n, "dead descriptor"), of)
			continue
		}
		if p.Known.Has(collectors.FieldFDLimit) && float64(p.FDs) > nearlyFull*float64(p.FDLimit) {
			o.say("note: %s[%d] has %d of %d file descriptors open; destroy does not free them", Printable(p.Name), pid, p.FDs, p.FDLimit)
		}
	}
}

// leaks says, for each process that a group rule is about, when its descriptors will be
// used up.
func leaks(o Out, r *engine.Report) {
	seen := map[*engine.Group]bool{}
	for _, f := range r.Findings {
		g := f.Group
		if g == nil || seen[g] || g.Leak == nil || len(f.Facts.Owners) == 0 {
			continue
		}
		seen[g] = true
		text := fmt.Sprintf("%s has %.0f of %.0f file descriptors open, %+.0f an hour", processText(f.Candidate), g.Facts.FDs, g.Facts.FDLimit, g.Leak.PerHour)
		if g.Leak.FullIn > 0 {
			text += ": full in " + span(g.Leak.FullIn)
		}
		o.say("note: %s", Printable(text))
	}
}
