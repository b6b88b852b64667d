package view

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
)

// Selection is what the user asked kill for.
type Selection struct {
	Names func(*collectors.Owner) bool // whether the user named this owner of a socket; the note names the other owners
	Now   bool                         // destroy without asking
}

// KillReads are the fields that the table of targets must know.
var KillReads = ListReads.Or(collectors.Fields(collectors.FieldDirection))

// Targets shows what would be destroyed, and what is spared.
func Targets(o Out, r *engine.Report, targets []*engine.Finding, s Selection) {
	switch {
	case r.AllUnseen():
		them := "them"
		if r.SparedUnseen == 1 {
			them = "it"
		}
		o.say("%s cannot be destroyed safely: not all who hold %s can be seen", Count(r.SparedUnseen, "socket"), them)
	case len(targets) == 0:
		o.say("no socket matches that may be destroyed")
	default:
		targetTable(o, targets, s.Now)
		for _, note := range []string{alsoHeld(targets, s.Names), protectedAmong(targets)} {
			if note != "" {
				o.say("warning: %s", Printable(note))
			}
		}
	}
	if spared := sparedReasons(r); spared != "" {
		o.say("%s", spared)
	}
	if r.Unseen > 0 {
		o.say("%s", unseenNote(r))
	}
}

func listens(f *engine.Finding) bool { return f.Socket.State == collectors.Listen }
func isUDP(f *engine.Finding) bool   { return f.Socket.Protocol == collectors.UDP }

// NotOnlyConnections reports whether listeners or UDP sockets are among targets.
func NotOnlyConnections(targets []*engine.Finding) bool {
	return slices.ContainsFunc(targets, listens) || slices.ContainsFunc(targets, isUDP)
}

func targetTable(o Out, targets []*engine.Finding, now bool) {
	announced := func(what, verb, participle string) {
		const aside = " (the processes keep running):"
		if now {
			o.say("%s %s%s", participle, what, aside)
			return
		}
		o.say("%s would be %s%s", what, verb, aside)
	}
	listeners, udp := slices.ContainsFunc(targets, listens), slices.ContainsFunc(targets, isUDP)
	if listeners || udp {
		announced(Count(len(targets), "socket"), "destroyed", "destroying")
	}
	if listeners {
		o.say("warning: listeners are among them: their services will not answer any more, and may spin, until they are restarted")
	}
	if udp {
		o.say("warning: UDP sockets are among them: servers that bound their port go on answering, others go deaf")
	}
	if !listeners && !udp {
		announced(Count(len(targets), strings.ToUpper(targets[0].Socket.Protocol.String())+" connection"), "reset", "resetting")
	}
	t := newTable("COUNT", "STATE", "PORT", "PROCESS", "WHERE", "PEERS", "OLDEST")
	groups := groupFindings(targets, func(*engine.Finding) string { return "" }, servicePort)
	slices.SortStableFunc(groups, func(x, y *group) int { return cmp.Compare(len(y.findings), len(x.findings)) })
	shown := groups[:min(maxGroups, len(groups))]
	rest := len(targets)
	for _, g := range shown {
		rest -= len(g.findings)
		t.row(fmt.Sprint(len(g.findings)), g.state(), g.port, g.process(), g.where(), g.peers(), g.oldest())
	}
	t.write(o)
	if rest > 0 {
		o.say("... and %s with %s", Count(len(groups)-len(shown), "more group"), Count(rest, "socket"))
	}
}

// Killed prints what became of the targets: for each failure why, once, and who still
// holds what is gone.
func Killed(o Out, r *engine.Report) {
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
	o.say("%s", strings.Join(parts, ", "))
	for _, text := range slices.Sorted(maps.Keys(errorTexts(r))) {
		o.say("  %s", text)
	}
	descriptors(o, r)
}
