package webhook

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sockwarden/actions"
)

const (
	// maxText is how long a message for people may be, in bytes; Discord takes 2000
	// characters.
	maxText = 1900
	// maxName is how long a name in the first line may be, in bytes.
	maxName = 200
	// maxLine is how long the description of one finding may be, in bytes.
	maxLine = 400
)

func (w *webhook) body(m actions.Message) ([]byte, error) {
	m = m.Whole()
	if w.template != nil {
		return filled(w.template, m)
	}
	var v any = m
	switch w.format {
	case "slack":
		v = map[string]any{"text": text(m, forSlack())}
	case "discord":
		// Programs choose their names: these must not notify anybody.
		v = map[string]any{"content": text(m, forDiscord()), "allowed_mentions": map[string]any{"parse": []string{}}}
	}
	b, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("message: %w", err)
	}
	return b, nil
}

// text is the message for people. Names that programs and rules chose go into code
// blocks, where chat programs interpret nothing but the end of the block.
func text(m actions.Message, escape *strings.Replacer) string {
	var b strings.Builder
	if m.Event == actions.EventTest {
		return fmt.Sprintf("sockwarden on `%s`: a test message: others would arrive, too", harmless(m.Host, maxName, escape))
	}
	if m.Event == actions.EventSum {
		fmt.Fprintf(&b, "sockwarden on `%s` (%s): %d messages in one", harmless(m.Host, maxName, escape), m.Mode, m.Total)
		for _, c := range m.Counts {
			m.Lines = append(m.Lines, fmt.Sprintf("%d x %s", c.Count, c.What))
		}
		block(&b, m.Lines, len(m.Lines), escape)
		return b.String()
	}
	fmt.Fprintf(&b, "sockwarden on `%s` (%s): rule `%s`", harmless(m.Host, maxName, escape), m.Mode, harmless(m.Rule, maxName, escape))
	switch m.Event {
	case actions.EventOver:
		fmt.Fprintf(&b, " is over after %s: nothing matches any more", time.Duration(m.Lasted*float64(time.Second)).Round(time.Second))
		return b.String()
	case actions.EventMissing:
		b.WriteString(": no socket matches")
		return b.String()
	case actions.EventStands:
		fmt.Fprintf(&b, " still finds, after %s, %d", time.Duration(m.Lasted*float64(time.Second)).Round(time.Second), m.Total)
	default:
		fmt.Fprintf(&b, " found %d", m.Total)
	}
	for i, c := range m.Counts {
		between := ", "
		if i == 0 {
			between = ": "
		}
		fmt.Fprintf(&b, "%s%d %s", between, c.Count, c.What)
	}
	block(&b, m.Lines, max(m.Total, len(m.Lines)), escape)
	return b.String()
}

// block adds a code block with the first of some lines, and how many of all are left out.
func block(b *strings.Builder, lines []string, all int, escape *strings.Replacer) {
	if len(lines) == 0 {
		return
	}
	b.WriteString("\n```\n")
	shown := 0
	for _, line := range lines {
		line = harmless(line, maxLine, escape)
		if b.Len()+len(line) > maxText-len("\nand 1234567890 more\n```") {
			break
		}
		b.WriteString(line + "\n")
		shown++
	}
	if more := all - shown; more > 0 {
		fmt.Fprintf(b, "and %d more\n", more)
	}
	b.WriteString("```")
}

// forDiscord prevents names from ending a code block or notifying anybody.
func forDiscord() *strings.Replacer { return strings.NewReplacer("`", "'", "@", "@\u200b") }

// forSlack does the same where entities stand for & < >.
func forSlack() *strings.Replacer {
	return strings.NewReplacer("`", "'", "@", "@\u200b", "&", "&amp;", "<", "&lt;", ">", "&gt;")
}

// harmless replaces characters that terminals and chat programs interpret, and cuts what
// is too long.
func harmless(s string, limit int, escape *strings.Replacer) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	s = escape.Replace(s)
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit] + "..."
}
