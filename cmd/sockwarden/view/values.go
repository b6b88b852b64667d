package view

import (
	"fmt"
	"strconv"
	"strings"

	"sockwarden/collectors"
	"sockwarden/engine/explain"
)

// valuesText is what a part of a condition has read of a socket: for one field its value
// alone, for several with their names.
func valuesText(s *explain.Socket, p *explain.Part) string {
	var texts []string
	names := readNames(p)
	for _, name := range names {
		text := valueText(s, p, name)
		if len(names) > 1 {
			text = name + " " + text
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, ", ")
}

// readNames are the names that a part reads; those of an age count as one.
func readNames(p *explain.Part) (names []string) {
	for _, name := range p.Names {
		switch f, ok := collectors.FieldByName(name); {
		case ok && f == collectors.FieldAgeMax, ok && f == collectors.FieldAgeSource && len(p.Names) > 1:
		default:
			names = append(names, name)
		}
	}
	return names
}

func valueText(s *explain.Socket, p *explain.Part, name string) string {
	f, isField := collectors.FieldByName(name)
	if isField && f == collectors.FieldAge {
		return explain.AgeText(s.Facts.Age)
	}
	if isField && f == collectors.FieldSendStalled {
		return explain.AgeText(s.Facts.Stalled)
	}
	v, known := p.Reads[name]
	n, isNumber := v.(float64)
	switch {
	case !known:
		return "not known"
	case isNumber && (name == "max_age" || isField && f.Doc().Type == collectors.TypeSeconds):
		return seconds(n)
	case isNumber:
		return strconv.FormatFloat(collectors.Rounded(n), 'f', -1, 64)
	case v == "":
		return `""`
	}
	return Printable(fmt.Sprint(v))
}

// seconds shows a time with its unit: 0.25s, 41s, 2h5m.
func seconds(n float64) string {
	const whole = 10
	if n < whole {
		return strconv.FormatFloat(collectors.Rounded(n), 'f', -1, 64) + "s"
	}
	return span(n)
}
