package watch

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine/report"
	"sockwarden/rules"
)

const (
	// maxProblems is how many problems of rules a status has.
	maxProblems = 20
	// maxProcesses is how many processes a status names: those nearest to their limit.
	maxProcesses = 5
	// nearlyFull is the part of its limit from which on a process has many descriptors open.
	nearlyFull = 0.8
)

// shown is what a watcher has shown on its board.
type shown struct {
	loaded time.Time // when the rules in force came into force
	reload LastReload
	last   Status // the parts that a cycle decides
}

// begins notes the rules with which the watcher begins.
func (s *shown) begins(now time.Time) {
	s.loaded, s.reload = now, LastReload{Time: now, OK: true, Good: now}
}

// rejected notes why rules were rejected.
func (s *shown) rejected(now time.Time, err error) {
	s.reload = LastReload{Time: now, Problems: problemsOf(err), Good: s.reload.Good}
}

// accepted notes that the rules as read are good; they are in force if taken says so.
func (s *shown) accepted(now time.Time, taken bool) {
	s.reload = LastReload{Time: now, OK: true, Good: now}
	if taken {
		s.loaded = now
	}
}

func problemsOf(err error) []Problem {
	all, ok := errors.AsType[rules.Problems](err)
	if !ok {
		return []Problem{{Message: err.Error()}}
	}
	return problems(all)
}

func problems(all rules.Problems) (out []Problem) {
	for _, p := range all.First(maxProblems) {
		out = append(out, Problem{string(p.ID), p.File, p.Line, p.Column, p.Message, p.Source})
	}
	return out
}

// show publishes the state of the watcher, if there is a board.
func (w *watcher) show() {
	if w.opts.Board == nil {
		return
	}
	s := w.shown.last
	s.Mode, s.Started, s.Every = report.ModeDry, w.began, w.opts.Interval.Seconds()
	if w.Hand != nil {
		s.Mode = report.ModeLive
	}
	s.Rules = w.rulesStatus()
	s.Next, s.Due = w.schedule.due, w.schedule.regular
	if s.Due.IsZero() { // at once
		s.Due = firstTime(s.Running, w.World.Now())
	}
	if s.Next.IsZero() {
		s.Next = s.Due
	}
	s.Events.On = w.Looker.Ages.Events != nil
	s.Breaker.Limit = w.gens().InForce().Breaker.String()
	w.opts.Board.Show(&s)
}

// firstTime is the first of two times that is not zero.
func firstTime(a, b time.Time) time.Time {
	if a.IsZero() {
		return b
	}
	return a
}

// rulesStatus says how the rules stand.
func (w *watcher) rulesStatus() RulesStatus {
	inForce := w.gens().All[0].Read
	s := RulesStatus{
		Generation: inForce.Generation, Count: len(inForce.Rules), Files: []string{}, Loaded: w.shown.loaded, LastReload: w.shown.reload, Settling: w.settling(),
		Warnings: problems(inForce.Warnings),
	}
	for _, f := range inForce.Files {
		s.Files = append(s.Files, f.Path)
	}
	for _, r := range inForce.Rules {
		s.Names = append(s.Names, r.Name)
	}
	return s
}

// settling says which newer rules wait for what, nil if none do.
func (w *watcher) settling() *Settling {
	var writing []string
	for path := range w.reader.awaited {
		writing = append(writing, path)
	}
	slices.Sort(writing)
	due, more := w.gens().Due()
	switch {
	case more:
		return &Settling{Generation: w.gens().Newest().Generation, Until: due, Writing: writing}
	case len(writing) > 0 && w.shown.reload.OK: // what was written so far is wrong, and may be right in a moment
		return &Settling{Writing: writing}
	}
	return nil
}

// runs shows that a cycle begins.
func (w *watcher) runs() {
	w.shown.last.Running = w.World.Now()
	w.show()
}

// ran takes the result of a cycle into what is shown.
func (w *watcher) ran(p *rules.Program, began time.Time, r *report.Report, err error) {
	s := &w.shown.last
	s.Running = time.Time{}
	if w.opts.Board == nil {
		return
	}
	if err != nil {
		s.Cycle = &CycleStatus{Time: began, Duration: w.World.Now().Sub(began).Seconds(), Failed: err.Error()}
		return
	}
	s.Cycle = &CycleStatus{
		Time: began, Duration: r.Duration.Seconds(), Scanned: r.Summary.Scanned, SocketsTotal: r.Summary.SocketsTotal, Namespaces: r.Namespaces,
		Summary: r.Summary, Incomplete: r.Incomplete,
	}
	s.Breaker.Tripped = []string{}
	for _, err := range r.Errors {
		s.Cycle.Errors = append(s.Cycle.Errors, err.Error())
		if t, ok := errors.AsType[*report.TrippedError](err); ok {
			s.Breaker.Tripped = append(s.Breaker.Tripped, fmt.Sprintf("%s (%s)", t.What, t.Limit))
		}
	}
	s.Events.Lost = w.Looker.Ages.Lost()
	s.ByRule, s.Leaks, s.Report = w.byRule(p, r), leaking(r), r
}

// byRule is what each rule has found in a cycle, and done lately.
func (w *watcher) byRule(p *rules.Program, r *report.Report) []RuleStatus {
	now := w.World.Mono()
	all := make([]RuleStatus, len(p.Rules))
	at := map[string]int{}
	spared := make([]map[string]int, len(p.Rules))
	for i, rule := range p.Rules {
		all[i] = RuleStatus{Rule: rule.Name, Mode: string(rule.Mode)}
		all[i].Hour, all[i].Day = w.Memory.Lately(rule.Name, now)
		at[rule.Name], spared[i] = i, map[string]int{}
	}
	for _, f := range r.Findings {
		i, known := at[f.Rule.Name]
		if !known {
			continue
		}
		all[i].Findings++
		if f.Decision != report.DecideAct && f.Decision != report.DecideObserve {
			spared[i][string(f.Decision)+"\x00"+f.Reason]++
		}
	}
	for i, reasons := range spared {
		most := ""
		for reason, n := range reasons {
			if n > reasons[most] || n == reasons[most] && reason < most {
				most = reason
			}
		}
		all[i].Spared = sparedText(most)
	}
	return all
}

// sparedText writes a decision and its reason: "limited (per_cycle 100 reached)".
func sparedText(reason string) string {
	decision, why, _ := strings.Cut(reason, "\x00")
	if why == "" {
		return decision
	}
	return decision + " (" + why + ")"
}

// leaking names the processes of findings that have nearly used up their descriptors.
func leaking(r *report.Report) []ProcessStatus {
	known := map[int]bool{}
	all := []ProcessStatus{}
	for _, f := range r.Findings {
		for i := range f.Facts.Owners {
			o := &f.Facts.Owners[i]
			if known[o.PID] || !o.Known.Has(collectors.FieldFDs) || !o.Known.Has(collectors.FieldFDLimit) || o.FDLimit == math.MaxUint64 {
				continue
			}
			leak := f.Group != nil && f.Group.Leak != nil && f.Group.Leak.FullIn > 0
			if !leak && float64(o.FDs) < nearlyFull*float64(o.FDLimit) {
				continue
			}
			known[o.PID] = true
			p := ProcessStatus{Process: o.Name, PID: o.PID, Container: cmp.Or(o.ContainerName, o.Container), FDs: o.FDs, FDLimit: o.FDLimit}
			if leak {
				p.FullIn = f.Group.Leak.FullIn
			}
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b ProcessStatus) int {
		return cmp.Or(cmp.Compare(float64(b.FDs)/float64(b.FDLimit), float64(a.FDs)/float64(a.FDLimit)), cmp.Compare(a.PID, b.PID))
	})
	return all[:min(len(all), maxProcesses)]
}
