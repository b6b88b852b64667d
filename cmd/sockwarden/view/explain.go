package view

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"sockwarden/engine/explain"
	"sockwarden/rules"
)

const (
	maxSums    = 20 // lines in the summary
	maxDetails = 5  // sockets shown with every part
)

// Explain shows why rules take sockets or not: how many sockets each reason decides, and
// for each reason one socket in detail. As JSON it is every socket by every rule.
func Explain(o Out, x *explain.Explanation, s *Setting) error {
	switch o.Format {
	case JSON:
		return explainJSON(o, x, s)
	case Lines:
		all, omitted := most(x.All(), s.Most)
		if err := writeRows(o, len(all), func(i int) explain.One { return all[i] }); err != nil || omitted == 0 {
			return err
		}
		_, err := fmt.Fprintf(o.W, "{\"omitted\":%d}\n", omitted)
		return err //nolint:wrapcheck // an error of the stream
	case Text:
	}
	var b bytes.Buffer
	p := o.on(&b)
	explained(p, x, s)
	_, err := o.W.Write(b.Bytes())
	return err //nolint:wrapcheck // an error of the stream
}

// explainJSON writes one document, element by element: for many sockets it is large.
func explainJSON(o Out, x *explain.Explanation, s *Setting) error {
	w := bufio.NewWriter(o.W)
	judge := "host"
	if x.Report.Recording != "" {
		judge = "recording"
	}
	by := ""
	if s.Watcher != nil {
		judge = "watcher"
		text, err := json.MarshalIndent(s.Watcher, "  ", "  ")
		if err != nil {
			return fmt.Errorf("write JSON: %w", err)
		}
		by = ",\n  \"watcher\": " + string(text)
	}
	all, omitted := most(x.All(), s.Most)
	if omitted > 0 {
		by += fmt.Sprintf(",\n  \"omitted\": %d", omitted)
	}
	fmt.Fprintf(w, "{\n  \"generation\": %q,\n  \"judged_by\": %q%s,\n  \"explanations\": [", x.Report.Generation, judge, by)
	for i := range all {
		text, err := json.MarshalIndent(all[i], "    ", "  ")
		if err != nil {
			return fmt.Errorf("write JSON: %w", err)
		}
		comma := ","
		if i == 0 {
			comma = ""
		}
		if _, err := fmt.Fprintf(w, "%s\n    %s", comma, text); err != nil {
			return err //nolint:wrapcheck // an error of the stream
		}
	}
	end := "]\n}\n"
	if len(all) > 0 {
		end = "\n  " + end
	}
	_, _ = w.WriteString(end) // Flush returns the error
	return w.Flush()          //nolint:wrapcheck // an error of the stream
}

// most returns the first explanations, at most n unless that is 0, and how many there are
// besides.
func most(all []explain.One, n int) (first []explain.One, omitted int) {
	if n == 0 || len(all) <= n {
		return all, 0
	}
	return all[:n], len(all) - n
}

// judged says who judged.
func judged(o Out, x *explain.Explanation, s *Setting) {
	w := s.Watcher
	if w == nil {
		o.say("%s, judged by %s (generation %s)", Count(len(x.Sockets), "socket"), lookedAt(x.Report), s.Program.Short())
		return
	}
	now := x.Report.Started
	o.say("%s, judged by the watcher (pid %d, %s, for %s)", Count(len(x.Sockets), "socket"), w.PID, w.Mode, since(w.Started, now))
	o.say("in force for %s: %s", since(w.Loaded, now), Printable(origin(x.Report, s.Program)))
}

func explained(o Out, x *explain.Explanation, s *Setting) {
	judged(o, x, s)
	if len(x.Sockets) == 0 {
		o.say("nothing matches the selection; sockwarden list shows what there is")
	}
	if len(x.Sockets) > 1 {
		sums(o, x)
		fmt.Fprintln(o.W)
	}
	shown := 0
	for _, g := range x.Groups {
		if g.Rule == nil && len(x.Groups) > 1 || shown == maxDetails {
			continue
		}
		if shown++; shown > 1 {
			fmt.Fprintln(o.W)
		}
		detail(o, g, s.Program.Vars)
	}
	explainNotes(o, x, s)
}

// sums prints a line for each group of sockets.
func sums(o Out, x *explain.Explanation) {
	for i, g := range x.Groups {
		if i == maxSums {
			o.say("... %s (-o json has every socket)", Count(len(x.Groups)-maxSums, "more group"))
			break
		}
		text := Printable(g.Text)
		if g.Rule != nil {
			text = Printable(g.Rule.Name) + ": " + text
			if d := g.Sockets[0].Main.Details(); d.Cure != "" {
				of := "; "
				if len(g.Sockets) > 1 && (d.Part == nil || d.Part.Value == rules.False) {
					of = "; the oldest: "
				}
				text += of + Printable(d.Cure)
			}
		}
		const count = "%6d  "
		hanging(o, fmt.Sprintf(count, len(g.Sockets)), text)
	}
}

// hanging writes text after a prefix, with a hanging indent.
func hanging(o Out, begin, text string) {
	if width(begin)+width(text) <= o.prose() {
		fmt.Fprintln(o.W, begin+text)
		return
	}
	for i, line := range wrapped(text, max(narrowest, o.prose()-width(begin))) {
		if i > 0 {
			begin = strings.Repeat(" ", width(begin))
		}
		fmt.Fprintln(o.W, begin+line)
	}
}

// detail shows the first socket of a group: what each rule says about it.
func detail(o Out, g *explain.Group, vars map[string]string) {
	s := g.Sockets[0]
	of := ""
	if len(g.Sockets) > 1 {
		of = fmt.Sprintf("1 of %d", len(g.Sockets))
	}
	c := s.Candidate
	ends := fmt.Sprintf("%d <- %s", c.Socket.LocalPort, peer(c))
	if peer(c) == "-" {
		ends = fmt.Sprint(c.Socket.LocalPort)
	}
	head := strings.TrimRight(strings.Join([]string{Printable(processText(c)), stateText(c), ends, where(c), of}, "  "), " ")
	if c.NoSocket() {
		head = "no socket"
	}
	hanging(o, "", head)
	var elsewhere []string
	if s.Main != nil {
		ruleVerdict(o, s, s.Main, vars, true)
	}
	for _, v := range s.Verdicts {
		switch {
		case v == s.Main:
		case v.Elsewhere():
			elsewhere = append(elsewhere, Printable(v.Rule.Name))
		default:
			ruleVerdict(o, s, v, vars, false)
		}
	}
	if len(elsewhere) > 0 {
		verb := "are"
		if len(elsewhere) == 1 {
			verb = "is"
		}
		hanging(o, "  ", strings.Join(elsewhere, ", ")+" "+verb+" about other sockets")
	}
}

// ruleVerdict shows what one rule says about a socket; for the rule to read first, with
// every part of its condition.
func ruleVerdict(o Out, s *explain.Socket, v *explain.Verdict, vars map[string]string, main bool) {
	d := v.Details()
	name, text := fmt.Sprintf("  %s (%s)  ", Printable(v.Rule.Name), place(v.Rule)), verdictText(s, v, d, vars)
	if width(name)+width(text) <= o.prose() {
		fmt.Fprintln(o.W, name+text)
	} else {
		fmt.Fprintln(o.W, strings.TrimRight(name, " "))
		hanging(o, "    ", text)
	}
	if d.Owner != nil {
		hanging(o, "    ", "of "+Printable(d.Owner.String())+": it must hold for each process that has the socket")
	}
	if d.Cure != "" {
		hanging(o, "    ", Printable(d.Cure))
	}
	if !main {
		return
	}
	if v.Decision == explain.None {
		parts(o, s, explain.Conjuncts(&d.When))
		if d.Having != nil {
			parts(o, s, explain.Conjuncts(d.Having))
		}
	}
	var besides []string
	for _, a := range v.Besides(d) {
		besides = append(besides, a.Reason)
	}
	if len(besides) > 0 {
		hanging(o, "    ", "and then: "+Printable(strings.Join(besides, "; ")))
	}
}

func place(r *rules.Rule) string {
	if r.File == rules.Builtin {
		return r.File
	}
	return fmt.Sprintf("%s:%d", r.File[strings.LastIndex(r.File, "/")+1:], r.Line)
}

// verdictText is what a rule says about one socket, with the values that decide.
func verdictText(s *explain.Socket, v *explain.Verdict, d *explain.Details, vars map[string]string) string {
	if v.Decision != explain.None {
		return Printable(v.Text())
	}
	if d.Part == nil {
		return "no: " + Printable(v.Reason)
	}
	text := fmt.Sprintf("no: %s is %s", Printable(explain.PartText(d.Part)), d.Part.Value)
	values := []string{valuesText(s, d.Part)}
	for _, name := range slices.Sorted(maps.Keys(vars)) {
		if _, used := v.Rule.When.Uses[name]; used && says(text, name) {
			values = append(values, name+" is "+Printable(shortened(oneLine(vars[name]), maxValue)))
		}
	}
	if values = slices.DeleteFunc(values, func(v string) bool { return v == "" }); len(values) > 0 {
		text += " (" + strings.Join(values, "; ") + ")"
	}
	return text
}

// maxValue is how much of a variable's value to show, in columns.
const maxValue = 40

// says reports whether a text contains the word.
func says(text, word string) bool {
	return slices.Contains(strings.FieldsFunc(text, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }), word)
}

// parts shows the parts of a condition that must all be true, with what they read.
func parts(o Out, s *explain.Socket, all []*explain.Part) {
	if len(all) < 2 {
		return // the line above says it
	}
	const most = 40 // columns for the text of a part, if values stand next to it
	column := 0
	for _, p := range all {
		if w := width(explain.PartText(p)); w <= most {
			column = max(column, w)
		}
	}
	for _, p := range all {
		text := explain.PartText(p)
		if pad := column - width(text); pad > 0 {
			text += strings.Repeat(" ", pad)
		}
		line := fmt.Sprintf("    %-7s  %s", p.Value, Printable(text))
		values := valuesText(s, p)
		if values == "" || width(line)+gap+width(values) <= o.prose() {
			fmt.Fprintln(o.W, strings.TrimRight(line+strings.Repeat(" ", gap)+values, " "))
			continue
		}
		hanging(o, fmt.Sprintf("    %-7s  ", p.Value), Printable(explain.PartText(p)))
		hanging(o, strings.Repeat(" ", len("    unknown    ")), values)
	}
}

// explainNotes says what could not be seen, and what applies to everything.
func explainNotes(o Out, x *explain.Explanation, s *Setting) {
	if s.Pause != nil {
		o.say("note: paused %s: live runs and watchers only observe (sockwarden resume)", s.Pause)
	}
	warnings(o, x.Report)
	if x.Report.Unseen > 0 {
		o.say("%s", unseenNote(x.Report))
	}
}
