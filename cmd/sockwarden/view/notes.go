package view

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"

	"sockwarden/collectors"
	"sockwarden/engine"
)

// nearlyFull is from what part of its limit on a process is said to have many
// descriptors open.
const nearlyFull = 0.8

// notes says what a reader should know besides: descriptor tables that fill up, ages
// that could not be proven, what was not seen.
func notes(w io.Writer, r *engine.Report) {
	leaks(w, r)
	descriptors(w, r)
	for _, y := range r.Young {
		fmt.Fprintf(w, "note: up to %d more will match `%s` within %s, if they stay as they are\n",
			y.Sockets, Printable(y.Rule.Name), span(math.Ceil(y.Within.Seconds())))
	}
	if r.AgeUnproven > 0 {
		fmt.Fprintf(w, "note: the age of %s cannot be proven by one look; --observe 60s looks twice, and run and watch remember\n", Count(r.AgeUnproven, "socket"))
	}
	if r.OwnersHidden > 0 {
		spared := ", spared"
		if slices.ContainsFunc(r.Findings, func(f *engine.Finding) bool { return f.OwnerHidden() && f.Decision == engine.DecideAct }) {
			spared = "" // --allow-unknown-owner
		}
		fmt.Fprintf(w, "note: owners of %s not visible%s: %s\n", Count(r.OwnersHidden, "socket"), spared, r.HiddenWhy)
	}
	if r.Unseen > 0 {
		fmt.Fprintln(w, unseenNote(r))
	}
}

// descriptors says which processes keep what was destroyed, or have their table of
// descriptors nearly full.
func descriptors(w io.Writer, r *engine.Report) {
	held := map[int]int{}
	owners := map[int]*collectors.Owner{}
	for _, f := range r.Findings {
		if f.Decision != engine.DecideAct {
			continue
		}
		for i := range f.Facts.Owners {
			owners[f.Facts.Owners[i].PID] = &f.Facts.Owners[i]
		}
		for _, o := range f.Last().Keepers {
			owners[o.PID] = &o
			held[o.PID]++
		}
	}
	for _, pid := range slices.Sorted(maps.Keys(owners)) {
		o := owners[pid]
		if n := held[pid]; n > 0 {
			of := ""
			if o.Known.Has(collectors.FieldFDLimit) {
				of = fmt.Sprintf(" (%d of %d)", o.FDs, o.FDLimit)
			}
			fmt.Fprintf(w, "warning: %s[%d] still holds %s%s; only closing or restarting frees them\n", Printable(o.Name), pid, Count(n, "dead descriptor"), of)
			continue
		}
		if o.Known.Has(collectors.FieldFDLimit) && float64(o.FDs) > nearlyFull*float64(o.FDLimit) {
			fmt.Fprintf(w, "note: %s[%d] has %d of %d file descriptors open; destroy does not free them\n", Printable(o.Name), pid, o.FDs, o.FDLimit)
		}
	}
}

// leaks says of each process that a group rule is about when its descriptors
// will be used up.
func leaks(w io.Writer, r *engine.Report) {
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
		fmt.Fprintln(w, "note: "+Printable(text))
	}
}
