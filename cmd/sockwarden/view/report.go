package view

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/pause"
	"sockwarden/engine/silence"
	"sockwarden/rules"
)

// Setting is what a report was made with.
type Setting struct {
	Program *rules.Program
	By      string       // who runs it
	Pause   *pause.Pause // the pause in force, nil for none
	// Silences are those in force.
	Silences silence.List
	Flags    string // the flags with which a live run would do the same, "" for none
	// Watcher is who judged, nil for this program.
	Watcher *Watcher
	// Most bounds the explanations in JSON, 0 for no bound.
	Most int
}

// Watcher is a watcher that judged.
type Watcher struct {
	PID     int       `json:"pid"`
	Version string    `json:"version"`
	Mode    string    `json:"mode"`
	Started time.Time `json:"started"`
	Loaded  time.Time `json:"loaded"` // when its rules came into force
}

// Report shows the result of a cycle: the mode and the rules, a table of the findings,
// notes, what was spared, and the totals. As Lines it is only the findings.
func Report(o Out, r *engine.Report, s *Setting, rows Rows) error {
	if o.Format != Text {
		return ReportJSON(o, r)
	}
	var b bytes.Buffer
	p := o.on(&b)
	header(p, r, s)
	warnings(p, r)
	b.WriteByte('\n')
	if findings(p, r, rows) {
		b.WriteByte('\n')
	}
	notes(p, r)
	if spared := sparedReasons(r); spared != "" {
		p.say("%s", spared)
	}
	totals(p, r)
	if r.Recording == "" { // nothing can be done to one
		next(p, r, s, rows)
	}
	_, err := o.W.Write(b.Bytes())
	return err //nolint:wrapcheck // an error of the stream
}

// ReportJSON writes a report as JSON, or its findings as Lines.
func ReportJSON(o Out, r *engine.Report) error {
	if o.Format == JSON {
		doc := *r
		doc.Summary, doc.Duration = totalsOf(r), r.Duration.Round(time.Millisecond)
		return o.Encode(&doc)
	}
	return writeRows(o, len(r.Findings), func(i int) *engine.Finding { return r.Findings[i] })
}

func header(o Out, r *engine.Report, s *Setting) {
	mode, by := "DRY RUN", ""
	if r.Mode == "live" {
		mode, by = "LIVE", ", by "+s.By
	}
	if r.Recording != "" {
		mode = "RECORDING"
	}
	o.say("%s  %s%s", mode, origin(r, s.Program), by)
	if r.Recording != "" {
		o.say("of %s", Printable(r.Recording))
	}
	if s.Program.Breaker.ByHand {
		o.say("breaker %s by --breaker, whatever the rules say", s.Program.Breaker)
	}
	if s.Pause != nil {
		o.say("paused %s: live runs and watchers only observe (sockwarden resume)", s.Pause)
	}
	for _, one := range s.Silences {
		if one.Broken() != "" {
			o.say("nothing is done: %s", Printable(one.Broken()))
			continue
		}
		o.say("%s", Printable(one.String()+": "+oneLine(one.About())))
	}
}

// lookedAt says what a report is about.
func lookedAt(r *engine.Report) string {
	if r.Recording != "" {
		return "the recording of " + Printable(r.Recording)
	}
	return "this host"
}

// origin names the files of the rules, or says how many there are.
func origin(r *engine.Report, p *rules.Program) string {
	names := make([]string, len(r.Files))
	for i, f := range r.Files {
		names[i] = f.Path
	}
	switch {
	case len(names) > 3:
		return fmt.Sprintf("%d files, %s, generation %s", len(names), Count(len(p.Rules), "rule"), p.Short())
	case len(names) == 1 && names[0] == rules.Builtin:
		from := fmt.Sprintf("built-in rules (%d), generation %s", len(p.Rules), p.Short())
		if p.NoDefaultDir {
			from += "; " + rules.DefaultDir + " does not exist"
		}
		return from
	}
	return fmt.Sprintf("%s, %s, generation %s, %s", Count(len(names), "file"), Count(len(p.Rules), "rule"), p.Short(), strings.Join(names, " "))
}

// warnings prints the errors of a report, except those that appear elsewhere.
func warnings(o Out, r *engine.Report) {
	for _, err := range r.Errors {
		if spared := (*engine.SparedError)(nil); errors.As(err, &spared) {
			continue // a line below says it
		}
		if _, away := errors.AsType[*engine.NamespaceError](err); away {
			continue // the final error says it
		}
		o.say("warning: %s", ErrorText(err))
	}
}

// totals prints the last lines: what was looked at and what became of it.
func totals(o Out, r *engine.Report) {
	in := ""
	if r.Namespaces > 1 {
		in = fmt.Sprintf(" in %d namespaces", r.Namespaces)
	}
	s := totalsOf(r)
	scanned := fmt.Sprintf("scanned %d of %s%s", s.Scanned, Count(max(s.SocketsTotal, s.Scanned), "socket"), in)
	if states := byState(r); states != "" {
		scanned += ": " + states
	}
	o.say("%s", scanned)
	took := fmt.Sprintf("(%.2fs)", r.Duration.Truncate(time.Millisecond).Seconds())
	if r.Mode == "live" {
		o.say("matched %d: acted %d, observed %d, protected %d, skipped %d, failed %d; fd still held %d %s",
			s.Matched, s.Acted, s.Observed, s.Protected, s.Skipped, s.Failed, s.FDStillHeld, took)
		return
	}
	failed := ""
	if s.Failed > 0 {
		failed = fmt.Sprintf(", failed %d", s.Failed)
	}
	o.say("matched %d: would act %d, observed %d, protected %d, skipped %d%s. Nothing was done %s.",
		s.Matched, s.WouldAct, s.Observed, s.Protected, s.Skipped, failed, took)
}

// next says, after a dry run, how to do what it found, and how to see more: why, and each
// socket.
func next(o Out, r *engine.Report, s *Setting, rows Rows) {
	const why = "rules explain says why"
	switch {
	case r.Mode == "live":
		return
	case r.Summary.WouldAct == 0:
		if r.Summary.Matched > 0 || r.AgeUnproven > 0 || len(r.Young) > 0 {
			o.say("next: %s", why)
		}
		return
	}
	live := "run --live"
	if s.Flags != "" {
		live += " " + s.Flags
	}
	parts := []string{live + " acts"}
	if s.Pause != nil {
		parts[0] += " once the pause is over"
	}
	if !rows.one(len(inTables(r))) {
		parts = append(parts, "--each shows every socket")
	}
	parts = append(parts, why)
	o.say("next: %s", strings.Join(parts, "; "))
}

// byState counts the sockets that were looked at, and names the most frequent states.
func byState(r *engine.Report) string {
	const named = 5
	states := slices.Collect(maps.Keys(r.ByState))
	slices.SortFunc(states, func(a, b collectors.State) int {
		return cmp.Or(cmp.Compare(r.ByState[b], r.ByState[a]), cmp.Compare(a, b))
	})
	var parts []string
	others := 0
	for i, s := range states {
		if i < named {
			parts = append(parts, fmt.Sprintf("%s %d", s, r.ByState[s]))
		} else {
			others += r.ByState[s]
		}
	}
	if others > 0 {
		parts = append(parts, fmt.Sprintf("others %d", others))
	}
	return strings.Join(parts, ", ")
}
