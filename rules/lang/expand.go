package lang

import (
	"strings"
	"unicode"
)

// maxInline is how many elements of a set or list, and maxInlined how many bytes of a
// value, stand in an expanded text; what is longer keeps its name.
const (
	maxInline  = 10
	maxInlined = 200
)

// meanings are what the names in a text mean.
type meanings struct {
	vars   map[string]*Value
	sets   map[string]*Set
	macros map[string]string
}

// Expanded returns the text with macros written out and variables and sets replaced by
// their values, if these are short.
func (c *Condition) Expanded() string { return c.expanded() }

func (m *meanings) expand(text string) string {
	var b strings.Builder
	runes := []rune(text)
	for i := 0; i < len(runes); {
		switch c := runes[i]; {
		case c == '"' || c == '\'' || c == '`':
			end := quoted(runes, i)
			b.WriteString(string(runes[i:end]))
			i = end
		case c == '_' || unicode.IsLetter(c):
			end := i
			for end < len(runes) && (runes[end] == '_' || unicode.IsLetter(runes[end]) || unicode.IsDigit(runes[end])) {
				end++
			}
			b.WriteString(m.meaning(string(runes[i:end]), end-i == len(runes)))
			i = end
		case unicode.IsDigit(c): // 1e3 has no name in it
			for i < len(runes) && (unicode.IsDigit(runes[i]) || unicode.IsLetter(runes[i])) {
				b.WriteRune(runes[i])
				i++
			}
		default:
			b.WriteRune(c)
			i++
		}
	}
	return b.String()
}

// meaning is what a name stands for; alone says that it is the whole text.
func (m *meanings) meaning(name string, alone bool) string {
	if text, ok := m.macros[name]; ok {
		text = m.expand(strings.TrimSpace(text))
		if !alone && strings.ContainsAny(text, " \n\t") {
			text = "(" + text + ")"
		}
		return text
	}
	value := ""
	v, isVar := m.vars[name]
	switch s := m.sets[name]; {
	case isVar && v.Type == TypeList:
		value = v.List.inText()
	case isVar:
		value = v.String()
	case s != nil:
		value = s.inText()
	}
	if value == "" || len(value) > maxInlined {
		return name
	}
	return value
}

// inText writes the set as a list in a condition, "" if it is long.
func (s *Set) inText() string {
	if len(s.Ranges)+len(s.Names)+len(s.addrs.ipv4)+len(s.addrs.ipv6) > maxInline {
		return ""
	}
	if s.Kind() != KindAddr {
		return s.String()
	}
	return `["` + strings.Join(s.addrs.texts(), `", "`) + `"]`
}

// quoted is where the string ends that begins at a place.
func quoted(runes []rune, from int) int {
	for i := from + 1; i < len(runes); i++ {
		switch {
		case runes[i] == '\\' && runes[from] != '`':
			i++
		case runes[i] == runes[from]:
			return i + 1
		}
	}
	return len(runes)
}
