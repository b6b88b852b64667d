package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/rules"
)

const (
	maxEach   = 25 // findings that are shown one by one
	maxGroups = 20 // lines of groups
)

// printReport shows what a cycle came to; if it is to be quiet, only if there is
// something of interest or an error.
func (a *app) printReport(r *engine.Report, p *rules.Program, flags tableFlags, interest int) error {
	if a.flags.quiet && interest == 0 && len(r.Errors) == 0 && r.HostError == nil {
		return nil
	}
	if a.flags.output != "table" {
		return a.reportJSON(r)
	}
	var b bytes.Buffer
	header(&b, r, p)
	for _, err := range r.Errors {
		if spared := (*engine.SparedError)(nil); errors.As(err, &spared) {
			continue // a line below says it
		}
		if _, away := errors.AsType[*engine.NamespaceError](err); away {
			continue // the error at the end says it
		}
		fmt.Fprintf(&b, "warning: %v\n", err)
	}
	b.WriteByte('\n')
	if reportTable(&b, r, flags) {
		b.WriteByte('\n')
	}
	notes(&b, r)
	if spared := sparedReasons(r); spared != "" {
		fmt.Fprintln(&b, spared)
	}
	totals(&b, r)
	_, err := a.stdout.Write(b.Bytes())
	return quietPipe(err)
}

func (a *app) reportJSON(r *engine.Report) error {
	enc := json.NewEncoder(a.stdout)
	if a.flags.output == "json" {
		enc.SetIndent("", "  ")
		return quietPipe(enc.Encode(r))
	}
	for _, f := range r.Findings {
		if err := enc.Encode(f); err != nil {
			return quietPipe(err)
		}
	}
	return nil
}

func header(w io.Writer, r *engine.Report, p *rules.Program) {
	mode, by := "DRY RUN", ""
	if r.Mode == "live" {
		mode, by = "LIVE", ", by "+invoker()
	}
	names := make([]string, len(r.Files))
	for i, f := range r.Files {
		names[i] = f.Path
	}
	from := fmt.Sprintf("%d file%s, %d rule%s, generation %s, %s", len(names), plural(len(names)), len(p.Rules), plural(len(p.Rules)), p.Short(), strings.Join(names, " "))
	switch {
	case len(names) > 3:
		from = fmt.Sprintf("%d files, %d rules, generation %s", len(names), len(p.Rules), p.Short())
	case len(names) == 1 && names[0] == rules.Builtin:
		from = fmt.Sprintf("built-in rules (%d), generation %s", len(p.Rules), p.Short())
		if p.NoDefaultDir {
			from += "; " + rules.DefaultDir + " does not exist"
		}
	}
	fmt.Fprintf(w, "%s  %s%s\n", mode, from, by)
	if p.Breaker.ByHand {
		fmt.Fprintf(w, "breaker %s by --breaker, whatever the rules say\n", p.Breaker)
	}
	if p := engine.ReadPause(time.Now(), engine.PauseFiles()...); p != nil {
		fmt.Fprintf(w, "paused %s: live runs and watchers only observe (sockwarden resume)\n", p)
	}
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

// severity orders the lines: what failed first, what is only limited last.
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
	case f.Decision == engine.DecideObserve, f.Decision == engine.DecideSoak, f.Decision == engine.DecideCanary:
		return 4
	}
	return 5
}

// inTable reports whether a finding has a line; the others are counted.
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
	// Why a breaker has tripped is said once, above.
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

func reportTable(w io.Writer, r *engine.Report, flags tableFlags) bool {
	var shown []*engine.Finding
	for _, f := range r.Findings {
		if inTable(f) {
			shown = append(shown, f)
		}
	}
	if len(shown) == 0 {
		return false
	}
	slices.SortStableFunc(shown, func(x, y *engine.Finding) int { return cmp.Compare(severity(x), severity(y)) })
	first := "DECISION"
	if r.Mode == "live" {
		first = "RESULT"
	}
	if flags.each || len(shown) <= maxEach {
		t := newTable(first, "RULE", "STATE", "PORT", "PEER", "PROCESS", "WHERE", "AGE", "ACTION")
		for _, f := range shown {
			t.row(label(f), f.Rule.Name, stateText(f.Candidate), fmt.Sprint(f.Socket.LocalPort), peer(f.Candidate), processText(f.Candidate), where(f.Candidate), ageText(f.Facts.Age), actionText(f))
		}
		t.write(w)
		return true
	}
	groups := groupFindings(shown, func(f *engine.Finding) string { return label(f) + "\x00" + actionText(f) })
	slices.SortStableFunc(groups, func(x, y *group) int {
		return cmp.Or(cmp.Compare(severity(x.first()), severity(y.first())), cmp.Compare(len(y.findings), len(x.findings)))
	})
	t := newTable(first, "RULE", "COUNT", "STATE", "PORT", "PROCESS", "WHERE", "OLDEST", "ACTION")
	for i, g := range groups {
		if i == maxGroups && !flags.all {
			break
		}
		t.row(label(g.first()), g.first().Rule.Name, fmt.Sprint(len(g.findings)), g.state(), g.port(), g.process(), g.where(), g.oldest(), actionText(g.first()))
	}
	t.write(w)
	if len(groups) > maxGroups && !flags.all {
		fmt.Fprintf(w, "... %d more groups (--all)\n", len(groups)-maxGroups)
	}
	return true
}

// notes says what a reader should know besides: full descriptor tables, ages
// that could not be proven, what was not seen.
func notes(w io.Writer, r *engine.Report) {
	const nearlyFull = 0.8
	leaks(w, r)
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
			fmt.Fprintf(w, "warning: %s[%d] still holds %d dead socket%s; only closing or restarting frees them\n", printable(o.Name), pid, n, plural(n))
		}
		if o.Known.Has(collectors.FieldFDLimit) && float64(o.FDs) > nearlyFull*float64(o.FDLimit) {
			fmt.Fprintf(w, "note: %s[%d] has %d of %d file descriptors open; destroy does not free them\n", printable(o.Name), pid, o.FDs, o.FDLimit)
		}
	}
	if r.AgeUnproven > 0 {
		fmt.Fprintf(w, "note: the age of %d socket%s cannot be proven by one look; --observe 60s looks twice, and run and watch remember\n", r.AgeUnproven, plural(r.AgeUnproven))
	}
	if r.OwnersHidden > 0 {
		spared := ", spared"
		if slices.ContainsFunc(r.Findings, func(f *engine.Finding) bool { return f.OwnerHidden() && f.Decision == engine.DecideAct }) {
			spared = "" // --allow-unknown-owner
		}
		fmt.Fprintf(w, "note: owners of %d socket%s not visible%s: %s\n", r.OwnersHidden, plural(r.OwnersHidden), spared, r.HiddenWhy)
	}
	if r.Unseen > 0 {
		fmt.Fprintln(w, unseenNote(r))
	}
}

// sparedReasons counts what was spared, by reason: "spared 31: 22 pending ...".
func sparedReasons(r *engine.Report) string {
	counts := map[string]int{}
	longest := map[*rules.Rule]time.Duration{}
	for _, f := range r.Findings {
		longest[f.Rule] = max(longest[f.Rule], f.Held)
	}
	total := 0
	for _, f := range r.Findings {
		if inTable(f) {
			continue
		}
		total++
		reason := f.Reason
		switch f.Decision { //nolint:exhaustive // the others speak for themselves
		case engine.DecidePending:
			if f.Rule.For <= 0 || f.Held >= f.Rule.For {
				reason = "pending (" + f.Reason + ")"
				break
			}
			reason = fmt.Sprintf("pending (%s for %s, longest %s)", f.Rule.Name, f.Rule.For, longest[f.Rule].Round(time.Second))
		case engine.DecideGuarded:
			reason = "guarded (" + f.Reason + ")"
		case engine.DecideShadowed:
			reason = "shadowed (" + f.Reason + ")"
		case engine.DecidePaused:
			reason = f.Reason
		case engine.DecideCooldown:
			reason = fmt.Sprintf("cooldown (%s)", f.Rule.Name)
		}
		counts[reason]++
	}
	if total == 0 {
		return ""
	}
	reasons := slices.Collect(maps.Keys(counts))
	slices.SortFunc(reasons, func(a, b string) int { return cmp.Or(counts[b]-counts[a], strings.Compare(a, b)) })
	var parts []string
	for _, reason := range reasons {
		parts = append(parts, fmt.Sprintf("%d %s", counts[reason], printable(reason)))
	}
	return fmt.Sprintf("spared %d: %s", total, strings.Join(parts, ", "))
}

// totals are the last lines: what was looked at and what became of it.
func totals(w io.Writer, r *engine.Report) {
	states := slices.Collect(maps.Keys(r.ByState))
	slices.SortFunc(states, func(a, b collectors.State) int {
		return cmp.Or(cmp.Compare(r.ByState[b], r.ByState[a]), cmp.Compare(a, b))
	})
	var parts []string
	others := 0
	for i, s := range states {
		if i < 5 {
			parts = append(parts, fmt.Sprintf("%s %d", s, r.ByState[s]))
		} else {
			others += r.ByState[s]
		}
	}
	if others > 0 {
		parts = append(parts, fmt.Sprintf("others %d", others))
	}
	in := ""
	if r.Namespaces > 1 {
		in = fmt.Sprintf(" in %d namespaces", r.Namespaces)
	}
	s := r.Summary
	scanned := fmt.Sprintf("scanned %d of %d sockets%s", s.Scanned, max(s.SocketsTotal, s.Scanned), in)
	if len(parts) > 0 {
		scanned += ": " + strings.Join(parts, ", ")
	}
	fmt.Fprintln(w, scanned)
	took := fmt.Sprintf("(%.2fs)", r.Duration.Truncate(time.Millisecond).Seconds())
	if r.Mode == "live" {
		fmt.Fprintf(w, "matched %d: acted %d, observed %d, protected %d, skipped %d, failed %d; fd still held %d %s\n", s.Matched, s.Acted, s.Observed, s.Protected, s.Skipped, s.Failed, s.FDStillHeld, took)
		return
	}
	fmt.Fprintf(w, "matched %d: would act %d, observed %d, protected %d, skipped %d. Nothing was done %s.\n", s.Matched, s.WouldAct, s.Observed, s.Protected, s.Skipped, took)
	if s.WouldAct > 0 {
		fmt.Fprintln(w, "next: run --live acts; --each shows every socket")
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
		fmt.Fprintln(w, "note: "+printable(text))
	}
}
