package view

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"sockwarden/engine/memory"
	"sockwarden/engine/pause"
	"sockwarden/engine/report"
	"sockwarden/engine/watch"
)

// Status shows how a watcher is. brief leaves out all but what is wrong.
func Status(o Out, s *watch.Status, now time.Time, brief bool) error {
	if o.Format != Text {
		return o.Encode(s)
	}
	o.say("%s", Printable(headline(s)))
	for _, p := range s.Rules.LastReload.Problems {
		o.say("  %s", Printable(p.String()))
	}
	if brief {
		return nil
	}
	o.say("watching for %s (pid %d, %s), %s, generation %s", since(s.Started, now), s.PID, Printable(s.Version),
		Count(s.Rules.Count, "rule"), shortGeneration(s.Rules.Generation))
	if settling := s.Rules.Settling; settling != nil {
		newer := "newer rules"
		if settling.Generation != "" {
			newer += ", generation " + shortGeneration(settling.Generation) + ","
		}
		o.say("%s are not in force yet: %s", newer, Printable(settling.Why()))
	}
	cycleLine(o, s, now)
	if len(s.ByRule) > 0 {
		byRule(s).write(o)
	}
	for _, p := range s.Leaks {
		text := fmt.Sprintf("%s[%d]", p.Process, p.PID)
		if p.Container != "" {
			text += " " + shortened(p.Container, 30)
		}
		text += fmt.Sprintf(": %d of %d descriptors", p.FDs, p.FDLimit)
		if p.FullIn > 0 {
			text += ", full in " + span(p.FullIn)
		}
		o.say("%s", Printable(text))
	}
	o.say("%s", Printable(stateLine(s)))
	for i := range s.Silences {
		silenceLine(o, &s.Silences[i], now)
	}
	return nil
}

// headline is what must not be missed: whether the watcher acts, and what is wrong. A pause
// is well, and yet nothing is done.
func headline(s *watch.Status) string {
	mode, how := "DRY RUN", "well"
	if s.Mode == report.ModeLive {
		mode = "LIVE"
	}
	if !s.Well {
		how = "not well: " + strings.Join(s.Wrong, "; ")
	}
	if s.Paused == nil {
		return mode + ", " + how
	}
	return fmt.Sprintf("%s, but PAUSED %s: nothing is done; otherwise %s", mode, s.Paused, how)
}

// StatusWithout is what there is to say without a watcher.
type StatusWithout struct {
	Watcher bool            `json:"watcher"` // false
	Runs    bool            `json:"runs"`    // one that does not answer; Error says more
	Error   string          `json:"error"`
	Paused  *pause.Pause    `json:"paused"`
	LastRun *memory.LastRun `json:"last_run"` // from cron; nil if nothing is known of one
	// Silences are those that runs obey.
	Silences []watch.SilenceStatus `json:"silences"`
}

// NoWatcher shows what there is without a watcher, and how to start one.
func NoWatcher(o Out, s *StatusWithout, now time.Time) error {
	if o.Format != Text {
		return o.Encode(s)
	}
	if s.Runs {
		o.say("%s", Printable(s.Error))
	} else {
		o.say("no watcher runs here")
	}
	switch r := s.LastRun; {
	case r == nil:
		o.say("no run has left its findings")
	case len(r.Findings) == 0:
		o.say("the last run was %s ago; none of its findings stand", since(r.Time, now))
	default:
		o.say("the last run was %s ago; of its findings stand:", since(r.Time, now))
		for _, rule := range slices.Sorted(maps.Keys(r.Findings)) {
			o.say("  %s: %s", Printable(rule), Printable(counts(r.Findings[rule])))
		}
	}
	if s.Paused != nil {
		o.say("paused %s", Printable(s.Paused.String()))
	} else {
		o.say("not paused")
	}
	if err := Silences(o, s.Silences, now); err != nil {
		return err
	}
	if s.Runs {
		return nil
	}
	o.say("start one: sudo sockwarden watch --live, or as a service; without --live it only says what it would do")
	return nil
}

func cycleLine(o Out, s *watch.Status, now time.Time) {
	text := "the first cycle has not ended yet"
	if c := s.Cycle; c != nil {
		text = fmt.Sprintf("last cycle %s ago, %.2fs, %d of %s", since(c.Time, now), c.Duration, c.Scanned, Count(max(c.SocketsTotal, c.Scanned), "socket"))
		if c.Namespaces > 1 {
			text += ", " + Count(c.Namespaces, "namespace")
		}
		if c.Incomplete {
			text += ", incomplete"
		}
	}
	switch {
	case !s.Running.IsZero():
		text += fmt.Sprintf("; one has been running for %s", since(s.Running, now))
	case s.Next.After(now):
		text += fmt.Sprintf("; next in %s", span(s.Next.Sub(now).Seconds()))
	}
	o.say("%s", text)
	if s.Cycle != nil {
		for _, err := range s.Cycle.Errors {
			o.say("warning: %s", Printable(err))
		}
	}
}

func byRule(s *watch.Status) *table {
	t := newTable("RULE", "MODE", "NOW", "LAST HOUR", "LAST DAY", "STATE")
	for _, r := range s.ByRule {
		t.row(r.Rule, r.Mode, strconv.Itoa(r.Findings), counts(r.Hour), counts(r.Day), r.Spared)
	}
	return t
}

// counts writes numbers by name, the largest first: "812 gone, 3 fd_still_held".
func counts(of map[string]int) string {
	names := slices.Collect(maps.Keys(of))
	slices.SortFunc(names, func(a, b string) int {
		if of[a] != of[b] {
			return of[b] - of[a]
		}
		return strings.Compare(a, b)
	})
	var parts []string
	for _, name := range names {
		parts = append(parts, fmt.Sprintf("%d %s", of[name], name))
	}
	if len(parts) == 0 {
		return "-"
	}
	return strings.Join(parts, ", ")
}

func stateLine(s *watch.Status) string {
	parts := []string{"breaker calm", "not paused", "events off"}
	if n := len(s.Breaker.Tripped); n > 0 {
		parts[0] = "breaker tripped: " + s.Breaker.Tripped[0]
	}
	if s.Paused != nil {
		parts[1] = "paused " + s.Paused.String()
	}
	if s.Events.On {
		parts[2] = "events on"
		if s.Events.Lost > 0 {
			parts[2] += fmt.Sprintf(" (%d lost)", s.Events.Lost)
		}
	}
	if n := len(s.Silences); n > 0 {
		parts = append(parts, Count(n, "silence")+":")
	}
	return strings.Join(parts, ", ")
}

// since is how long ago something was.
func since(t, now time.Time) string { return span(max(0, now.Sub(t).Seconds())) }

func shortGeneration(g string) string {
	g = strings.TrimPrefix(g, "sha256:")
	return Printable(g[:min(len(g), 7)])
}

// Reloaded says what a reload has put in force.
func Reloaded(o Out, s *watch.RulesStatus) error {
	if o.Format != Text {
		return o.Encode(s)
	}
	for _, w := range s.Warnings {
		if w.File == "" {
			o.say("%s", Printable(w.Message)) // how many more there are
			continue
		}
		fmt.Fprintln(o.W, "warning: "+w.Detail())
	}
	o.say("in force: %s, generation %s, %s", Count(s.Count, "rule"), shortGeneration(s.Generation), Count(len(s.Files), "file"))
	return nil
}
