package view

import (
	"bytes"
	"fmt"
	"strings"

	"sockwarden/engine"
	"sockwarden/engine/differ"
	"sockwarden/rules"
)

// maxChanges is how many changes of a kind a table shows.
const maxChanges = 20

// Diff shows for which sockets two sets of rules, by the names that a person gave them,
// differ. As JSON it is one object, or one change on a line.
func Diff(o Out, d *differ.Difference, names [2]string) error {
	switch o.Format {
	case JSON:
		return o.Encode(d)
	case Lines:
		return writeRows(o, len(d.Changes), func(i int) *differ.Change { return d.Changes[i] })
	case Text:
	}
	var b bytes.Buffer
	p := o.on(&b)
	fmt.Fprintf(&b, "old  %s\nnew  %s\n", programName(names[0], d.Old), programName(names[1], d.New))
	changedRules(p, d)
	p.say("judged %s of %s by both, as if for, soak, canary, cool-downs and limits were over", Count(d.Sockets, "socket"), lookedAt(d.Report))
	for _, k := range differ.Kinds {
		changesOf(p, d, k)
	}
	if len(d.Changes) == 0 {
		p.say("\nno fate differs")
	}
	diffNotes(p, d.Report)
	_, err := o.W.Write(b.Bytes())
	return err //nolint:wrapcheck // an error of the stream
}

func programName(name string, p *rules.Program) string {
	return fmt.Sprintf("%s: %s (generation %s)", Printable(name), Count(len(p.Rules), "rule"), p.Short())
}

// changedRules says what the texts changed.
func changedRules(o Out, d *differ.Difference) {
	c := &d.Rules
	for _, line := range []struct {
		what  string
		names []string
	}{
		{"rules added", c.Added},
		{"rules removed", c.Removed},
		{"rules changed", c.Changed},
		{"protect added", c.ProtectAdded},
		{"protect removed", c.ProtectRemoved},
		{"protect changed", c.ProtectChanged},
		{"sets changed", c.Sets},
	} {
		if len(line.names) > 0 {
			hanging(o, line.what+": ", Printable(strings.Join(line.names, ", ")))
		}
	}
	if d.Old.Breaker != d.New.Breaker {
		o.say("breaker: %s, was %s", d.New.Breaker, d.Old.Breaker)
	}
}

// titles of the kinds of changes, by how many sockets.
var titles = map[differ.Kind]string{
	differ.Added: "%s newly acted on, %d living", differ.Removed: "%s no longer acted on, %d living", differ.Changed: "%s otherwise, %d living",
}

func changesOf(o Out, d *differ.Difference, k differ.Kind) {
	t, ok := d.Totals[k]
	if !ok {
		return
	}
	fmt.Fprintf(o.W, "\n"+titles[k]+"\n", Count(t.Count, "socket"), t.Living)
	shown := 0
	for _, c := range d.Changes {
		if c.Kind != k {
			continue
		}
		if shown++; shown > maxChanges {
			continue
		}
		change(o, c)
	}
	if shown > maxChanges {
		o.say("  ... %s (-o json has every one)", Count(shown-maxChanges, "more change"))
	}
}

// change shows what became of its sockets, what would, and examples.
func change(o Out, c *differ.Change) {
	hanging(o, fmt.Sprintf("%6d  ", c.Count), fmt.Sprintf("%s: %s -> %s, %d living", Printable(c.Rule), fate(&c.Old, c.Rule), fate(&c.New, c.Rule), c.Living))
	for _, cand := range c.Examples {
		fmt.Fprintf(o.W, "        %s\n", exampleLine(cand))
	}
}

// fate says what becomes of a socket, and by which rule if it is another one.
func fate(f *differ.Fate, known string) string {
	text := Printable(f.String())
	if f.Rule != "" && f.Rule != known {
		text += " by " + Printable(f.Rule)
	}
	return text
}

// exampleLine is a socket on a line.
func exampleLine(c *engine.Candidate) string {
	if c.NoSocket() {
		return "no socket"
	}
	ends := fmt.Sprintf("%d <- %s", c.Socket.LocalPort, peer(c))
	if peer(c) == "-" {
		ends = fmt.Sprint(c.Socket.LocalPort)
	}
	return Printable(strings.Join([]string{processText(c), stateText(c), ends, where(c), "age " + ageText(c.Facts.Age)}, "  "))
}

// diffNotes says what could not be seen.
func diffNotes(o Out, r *engine.Report) {
	if r.AgeUnproven > 0 {
		o.say("note: the age of %s cannot be proven by one look; --observe 61s looks twice, and a watcher's state file remembers", Count(r.AgeUnproven, "socket"))
	}
	if r.OwnersHidden > 0 {
		o.say("note: owners of %s not visible: %s", Count(r.OwnersHidden, "socket"), r.HiddenWhy)
	}
	warnings(o, r)
	if r.Unseen > 0 {
		o.say("%s", unseenNote(r))
	}
}
