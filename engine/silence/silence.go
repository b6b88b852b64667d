package silence

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine/look"
	"sockwarden/rules"
)

// Silence spares, until it ends, what its rules find and its condition selects.
type Silence struct {
	ID int `json:"id"`
	// Rules are the names of those that it is about; none means all.
	Rules []string `json:"rules,omitempty"`
	// Expr selects sockets, and Owner must hold for one of their processes; "" for all.
	// Neither uses a name that a rules file defines.
	Expr  string `json:"expr,omitempty"`
	Owner string `json:"owner,omitempty"`
	// Selectors are the flags that made these, as they were given, for people to read; ""
	// for none.
	Selectors string    `json:"selectors,omitempty"`
	Comment   string    `json:"comment,omitempty"`
	CreatedBy string    `json:"created_by"`
	StartsAt  time.Time `json:"starts_at"`
	EndsAt    time.Time `json:"ends_at"` // by the wall clock
	// File is where it was found.
	File string `json:"-"`

	when   *rules.Cond // nil for all sockets
	broken string      // why it spares all that it may be about
}

// compile makes the condition of a silence. The error says what is wrong with it.
func (s *Silence) compile() error {
	if s.Expr == "" && s.Owner == "" {
		return nil
	}
	p, err := rules.NewSelection(rules.Selection{Name: "silence", Text: cmp.Or(s.Expr, "true"), Owner: s.Owner, Mode: rules.ModeObserve})
	if err != nil {
		return err
	}
	s.when = p.Rules[0].When
	return nil
}

// Is reports whether it is about a rule.
func (s *Silence) Is(rule string) bool { return len(s.Rules) == 0 || slices.Contains(s.Rules, rule) }

// Missing are the rules that it names and that do not exist: it spares nothing of what a
// rule finds that has another name now.
func (s *Silence) Missing(exists func(rule string) bool) (names []string) {
	for _, name := range s.Rules {
		if !exists(name) {
			names = append(names, name)
		}
	}
	return names
}

// Spares reports whether it spares what a rule finds, and how its condition is true of the
// socket: what is unknown spares. Without a socket it goes by the rule alone.
func (s *Silence) Spares(c *look.Candidate, rule string) (bool, rules.Tri) {
	switch {
	case !s.Is(rule):
		return false, rules.False
	case s.when == nil:
		return true, rules.True
	case c.NoSocket():
		return false, rules.False
	}
	return c.Spares(s.when)
}

// String names it for reasons and logs: who wants it, and until when.
func (s *Silence) String() string {
	if s.broken != "" {
		return s.broken
	}
	layout := time.TimeOnly
	if s.EndsAt.Sub(s.StartsAt) >= 12*time.Hour {
		layout = time.DateTime
	}
	return fmt.Sprintf("silence %d by %s until %s", s.ID, s.CreatedBy, s.EndsAt.Format(layout))
}

// About says what it is about.
func (s *Silence) About() string {
	var parts []string
	switch {
	case len(s.Rules) == 1:
		parts = append(parts, "rule "+s.Rules[0])
	case len(s.Rules) > 1:
		parts = append(parts, "rules "+strings.Join(s.Rules, ", "))
	}
	asked := []string{s.Expr, s.Owner}
	if s.Selectors != "" {
		asked = []string{s.Selectors}
	}
	for _, text := range asked {
		if text != "" {
			parts = append(parts, text)
		}
	}
	if len(parts) == 0 {
		return "everything"
	}
	return strings.Join(parts, ": ")
}

// Broken says why a file of silences cannot be read, "" for a silence that can.
func (s *Silence) Broken() string { return s.broken }

// List are the silences in force at one time.
type List []*Silence

// Of returns why one of them spares what a rule finds, "" if none does.
func (l List) Of(c *look.Candidate, rule string) string {
	for _, s := range l {
		if spared, v := s.Spares(c, rule); spared {
			return s.String() + look.NotKnown(v)
		}
	}
	return ""
}

// Reads are the fields that their conditions read.
func (l List) Reads() (fields collectors.FieldSet) {
	for _, s := range l {
		if s.when != nil {
			fields.Add(s.when.Reads)
		}
	}
	return fields
}

// Find returns the one with that number, nil if there is none.
func (l List) Find(id int) *Silence {
	for _, s := range l {
		if s.ID == id {
			return s
		}
	}
	return nil
}

// IDs names them.
func (l List) IDs() string {
	var ids []string
	for _, s := range l {
		if s.broken == "" {
			ids = append(ids, strconv.Itoa(s.ID))
		}
	}
	return strings.Join(ids, ", ")
}
