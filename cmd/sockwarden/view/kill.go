package view

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
)

// Targets shows what would be destroyed, and what is spared. Names reports whether the
// selection is about this owner of a socket: the others are named, too.
func Targets(w io.Writer, r *engine.Report, targets []*engine.Finding, names func(*collectors.Owner) bool) {
	switch {
	case r.AllUnseen():
		fmt.Fprintf(w, "%s cannot be destroyed safely, as it is not known who holds them\n", Count(r.SparedUnseen, "socket"))
	case len(targets) == 0:
		fmt.Fprintln(w, "no socket matches that may be destroyed")
	default:
		targetTable(w, targets)
		for _, note := range []string{alsoHeld(targets, names), protectedAmong(targets)} {
			if note != "" {
				fmt.Fprintln(w, "warning: "+Printable(note))
			}
		}
	}
	if spared := sparedReasons(r); spared != "" {
		fmt.Fprintln(w, spared)
	}
	if r.Unseen > 0 {
		fmt.Fprintln(w, unseenNote(r))
	}
}

func targetTable(w io.Writer, targets []*engine.Finding) {
	listeners := slices.ContainsFunc(targets, func(f *engine.Finding) bool { return f.Socket.State == collectors.Listen })
	udp := slices.ContainsFunc(targets, func(f *engine.Finding) bool { return f.Socket.Protocol == collectors.UDP })
	if listeners || udp {
		fmt.Fprintf(w, "%s would be destroyed (the processes keep running):\n", Count(len(targets), "socket"))
	}
	if listeners {
		fmt.Fprintln(w, "warning: listeners are among them: their services will not answer any more, and may spin, until they are restarted")
	}
	if udp {
		fmt.Fprintln(w, "warning: UDP sockets are among them: servers that bound their port go on answering, others go deaf")
	}
	if !listeners && !udp {
		fmt.Fprintf(w, "%s would be reset (the processes keep running):\n", Count(len(targets), "TCP connection"))
	}
	t := newTable("COUNT", "STATE", "PORT", "PROCESS", "WHERE", "PEERS", "OLDEST")
	for _, g := range groupFindings(targets, func(*engine.Finding) string { return "" }) {
		t.row(fmt.Sprint(len(g.findings)), g.state(), g.port(), g.process(), g.where(), g.peers(), g.oldest())
	}
	t.write(w)
}

// Killed says what became of the targets, and of each failure once why.
func Killed(w io.Writer, r *engine.Report) {
	counts := map[actions.Result]int{}
	for _, f := range r.Findings {
		if f.Decision == engine.DecideAct {
			counts[f.Last().Result]++
		}
	}
	parts := []string{fmt.Sprintf("gone %d", counts[actions.Gone]+counts[actions.FDStillHeld])}
	if n := counts[actions.FDStillHeld]; n > 0 {
		parts[0] += fmt.Sprintf(" (%d still held as a descriptor by their process)", n)
	}
	if n := counts[actions.Unchanged]; n > 0 {
		parts = append(parts, fmt.Sprintf("unchanged %d", n))
	}
	if n := counts[actions.Changed]; n > 0 {
		parts = append(parts, fmt.Sprintf("changed %d (%s)", n, changedTexts(r)))
	}
	parts = append(parts, fmt.Sprintf("failed %d", r.Summary.Failed))
	fmt.Fprintln(w, strings.Join(parts, ", "))
	for _, text := range slices.Sorted(maps.Keys(errorTexts(r))) {
		fmt.Fprintln(w, "  "+text)
	}
}
