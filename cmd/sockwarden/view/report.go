package view

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/pause"
	"sockwarden/rules"
)

// Setting is what a report was made with.
type Setting struct {
	Program *rules.Program
	By      string       // who runs it
	Pause   *pause.Pause // that is in force, nil for none
	Flags   string       // with which a live run would do the same, "" for none
}

// Report shows what a cycle came to: the mode and the rules, a table of the findings,
// notes, what was spared, and the totals. As Lines it is the findings.
func Report(o Out, r *engine.Report, s *Setting, rows Rows) error {
	if o.Format != Text {
		return ReportJSON(o, r)
	}
	var b bytes.Buffer
	header(&b, r, s)
	warnings(&b, r)
	b.WriteByte('\n')
	if findings(&b, r, rows) {
		b.WriteByte('\n')
	}
	notes(&b, r)
	if spared := sparedReasons(r); spared != "" {
		fmt.Fprintln(&b, spared)
	}
	totals(&b, r)
	next(&b, r, s)
	_, err := o.W.Write(b.Bytes())
	return err //nolint:wrapcheck // an error of the stream
}

// ReportJSON writes a report as JSON, or its findings as Lines.
func ReportJSON(o Out, r *engine.Report) error {
	if o.Format == JSON {
		return o.Encode(r)
	}
	return writeRows(o, len(r.Findings), func(i int) *engine.Finding { return r.Findings[i] })
}

func header(w io.Writer, r *engine.Report, s *Setting) {
	mode, by := "DRY RUN", ""
	if r.Mode == "live" {
		mode, by = "LIVE", ", by "+s.By
	}
	fmt.Fprintf(w, "%s  %s%s\n", mode, origin(r, s.Program), by)
	if s.Program.Breaker.ByHand {
		fmt.Fprintf(w, "breaker %s by --breaker, whatever the rules say\n", s.Program.Breaker)
	}
	if s.Pause != nil {
		fmt.Fprintf(w, "paused %s: live runs and watchers only observe (sockwarden resume)\n", s.Pause)
	}
}

// origin names the files of the rules, or how many they are.
func origin(r *engine.Report, p *rules.Program) string {
	names := make([]string, len(r.Files))
	for i, f := range r.Files {
		names[i] = f.Path
	}
	switch {
	case len(names) > 3:
		return fmt.Sprintf("%d files, %d rules, generation %s", len(names), len(p.Rules), p.Short())
	case len(names) == 1 && names[0] == rules.Builtin:
		from := fmt.Sprintf("built-in rules (%d), generation %s", len(p.Rules), p.Short())
		if p.NoDefaultDir {
			from += "; " + rules.DefaultDir + " does not exist"
		}
		return from
	}
	return fmt.Sprintf("%s, %s, generation %s, %s", Count(len(names), "file"), Count(len(p.Rules), "rule"), p.Short(), strings.Join(names, " "))
}

// warnings are the errors of a report, but for those that are said elsewhere.
func warnings(w io.Writer, r *engine.Report) {
	for _, err := range r.Errors {
		if spared := (*engine.SparedError)(nil); errors.As(err, &spared) {
			continue // a line below says it
		}
		if _, away := errors.AsType[*engine.NamespaceError](err); away {
			continue // the error at the end says it
		}
		fmt.Fprintf(w, "warning: %v\n", err)
	}
}

// totals are the last lines: what was looked at and what became of it.
func totals(w io.Writer, r *engine.Report) {
	in := ""
	if r.Namespaces > 1 {
		in = fmt.Sprintf(" in %d namespaces", r.Namespaces)
	}
	s := r.Summary
	scanned := fmt.Sprintf("scanned %d of %d sockets%s", s.Scanned, max(s.SocketsTotal, s.Scanned), in)
	if states := byState(r); states != "" {
		scanned += ": " + states
	}
	fmt.Fprintln(w, scanned)
	took := fmt.Sprintf("(%.2fs)", r.Duration.Truncate(time.Millisecond).Seconds())
	if r.Mode == "live" {
		fmt.Fprintf(w, "matched %d: acted %d, observed %d, protected %d, skipped %d, failed %d; fd still held %d %s\n",
			s.Matched, s.Acted, s.Observed, s.Protected, s.Skipped, s.Failed, s.FDStillHeld, took)
		return
	}
	fmt.Fprintf(w, "matched %d: would act %d, observed %d, protected %d, skipped %d. Nothing was done %s.\n",
		s.Matched, s.WouldAct, s.Observed, s.Protected, s.Skipped, took)
}

// next says after a dry run how what it found is done.
func next(w io.Writer, r *engine.Report, s *Setting) {
	if r.Mode == "live" || r.Summary.WouldAct == 0 {
		return
	}
	live := "run --live"
	if s.Flags != "" {
		live += " " + s.Flags
	}
	if s.Pause != nil {
		fmt.Fprintf(w, "next: --each shows every socket; %s acts once the pause is over\n", live)
		return
	}
	fmt.Fprintf(w, "next: %s acts; --each shows every socket\n", live)
}

// byState counts the sockets that were looked at, those in the most frequent states by
// name.
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
