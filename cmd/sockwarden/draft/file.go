package draft

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/rules"
	"sockwarden/rules/lang"
)

// width of the comments, in columns.
const width = 88

// file writes the rules file.
func (d *draft) file() string {
	var b strings.Builder
	d.comment(&b)
	b.WriteString("version: 1\n")
	if d.NetNS != "" {
		fmt.Fprintf(&b, "netns: %s\n", d.NetNS)
	}
	d.sets(&b)
	fmt.Fprintf(&b, "\nrules:\n  - name: %s\n", d.Name)
	d.when(&b)
	b.WriteString("    mode: observe          # enforce, once audit shows what you want and nothing else\n")
	d.then(&b)
	b.WriteString("    limits:\n      per_cycle: 20\n")
	if d.cond.Names(collectors.FieldRemoteAddr) {
		b.WriteString("      cooldown: {target: 5m, peer: 1m}\n")
	} else {
		b.WriteString("      cooldown: 5m\n")
	}
	b.WriteString("      max_collateral: 0    # a signal or restart that you add may end no healthy connection\n")
	return b.String()
}

// then writes the ladder. Listeners are not destroyed: the service would be dead while its
// process lives.
func (d *draft) then(b *strings.Builder) {
	switch {
	case d.states == collectors.Mask(collectors.Listen):
		b.WriteString("    then: [log]            # destroying a listener would leave its process deaf\n")
	case d.states == collectors.Mask(collectors.Close) && !d.udp:
		b.WriteString("    then: [log]            # there is nothing to destroy: it is closed\n")
	case d.udp:
		b.WriteString("    then: [log]            # a UDP server that is destroyed can go deaf\n")
	default:
		b.WriteString("    then: [destroy]\n")
	}
}

func (d *draft) when(b *strings.Builder) {
	text := d.cond.Text
	if plain(text) {
		fmt.Fprintf(b, "    when: %s\n", text)
		return
	}
	b.WriteString("    when: |-\n")
	for line := range strings.Lines(text) {
		b.WriteString("      " + line)
	}
	b.WriteString("\n")
}

// plain reports whether YAML takes a text as it is, without quotes.
func plain(text string) bool {
	return text != "" && (text[0] == '(' || unicode.IsLetter(rune(text[0]))) && !strings.ContainsAny(text, "\n\t#") && !strings.Contains(text, ": ") && !strings.HasSuffix(text, ":")
}

// sets writes the sets that the condition names and that are not built in.
func (d *draft) sets(b *strings.Builder) {
	head := "\nsets:\n"
	for _, name := range slices.Sorted(maps.Keys(d.cond.Sets)) {
		set := d.Sets[name]
		if own, ok := rules.BuiltinSets()[name]; set == nil || ok && own.Equal(set) {
			continue
		}
		fmt.Fprintf(b, "%s  %s: %s\n", head, name, set)
		head = ""
	}
}

// comment says what the rule was made of, and how to go on.
func (d *draft) comment(b *strings.Builder) {
	fmt.Fprintf(b, "# Made on %s by\n#   %s\n", d.Made.Format("2006-01-02 15:04"), commandLine(d.Command))
	wrapped(b, "of "+d.summary())
	for _, what := range d.Dropped {
		wrapped(b, what)
	}
	for _, note := range d.notes {
		wrapped(b, note)
	}
	file := d.Name + ".yaml"
	b.WriteString("#\n")
	fmt.Fprintf(b, "#   sockwarden rules check --strict %s\n", file)
	fmt.Fprintf(b, "#   sudo sockwarden rules explain --rules %s    # why it takes them, or not yet\n", file)
	fmt.Fprintf(b, "#   sudo sockwarden audit --rules %s\n", file)
}

// summary counts the sockets, by state and by process, and those that the rule would take.
func (d *draft) summary() string {
	took := 0
	for _, c := range d.Sockets {
		if c.Eval(d.cond) == lang.True {
			took++
		}
	}
	return counts(d.Sockets, func(o *collectors.Owner) string { return o.Name }) + fmt.Sprintf(". When it was made, it was true of %d of them.", took)
}

// counts says how many sockets there are, by state and by process.
func counts(all []*engine.Candidate, name func(*collectors.Owner) string) string {
	states, processes := map[string]int{}, map[string]int{}
	for _, c := range all {
		states[c.Socket.State.String()]++
		for i := range c.Facts.Owners {
			processes[name(&c.Facts.Owners[i])]++
		}
	}
	text := fmt.Sprintf("%s: %s", sockets(len(all)), counted(states))
	if len(processes) > 0 {
		text += "; of " + counted(processes)
	}
	return text
}

func sockets(n int) string {
	if n == 1 {
		return "1 socket"
	}
	return strconv.Itoa(n) + " sockets"
}

// counted lists the most frequent first.
func counted(of map[string]int) string {
	names := slices.SortedFunc(maps.Keys(of), func(x, y string) int {
		if of[x] != of[y] {
			return of[y] - of[x]
		}
		return strings.Compare(x, y)
	})
	var parts []string
	for i, name := range names {
		if i == mostNames {
			parts = append(parts, fmt.Sprintf("%d more", len(names)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("%s %d", printable(name), of[name]))
	}
	return strings.Join(parts, ", ")
}

// commandLine is what the user typed, as a shell takes it, on one line.
func commandLine(args []string) string {
	words := make([]string, len(args))
	for i, a := range args {
		words[i] = a
		if a == "" || strings.ContainsFunc(a, func(r rune) bool {
			return !strings.ContainsRune("-_./:,=+@%", r) && !unicode.IsLetter(r) && !unicode.IsDigit(r)
		}) {
			words[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return printable(strings.Join(words, " "))
}

// printable is a text that stays in its comment: others choose the names of processes.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, text)
}

// wrapped writes a sentence as lines of a comment.
func wrapped(b *strings.Builder, text string) { wrappedAt(b, "#", text) }

// wrappedAt writes lines of a comment that begin like that.
func wrappedAt(b *strings.Builder, begin, text string) {
	line := begin
	for word := range strings.FieldsSeq(text) {
		if len(line)+1+len(word) > width && line != begin {
			b.WriteString(line + "\n")
			line = begin
		}
		line += " " + word
	}
	b.WriteString(line + "\n")
}
