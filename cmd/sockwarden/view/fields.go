package view

import (
	"fmt"
	"io"
	"strings"

	"sockwarden/collectors"
)

// Fields shows what conditions can read: meaning, type, source, and when it is unknown.
func Fields(o Out, docs []collectors.FieldDoc) error {
	if o.Format != Text {
		return writeRows(o, len(docs), func(i int) map[string]any { return fieldJSON(&docs[i]) })
	}
	for i := range docs {
		fieldText(o.W, &docs[i])
	}
	return nil
}

func fieldText(w io.Writer, d *collectors.FieldDoc) {
	name := strings.Join(append([]string{d.Name}, d.Aliases...), ", ")
	typ := d.Type.String()
	if d.Unit != "" && d.Unit != "s" {
		typ += " (" + d.Unit + ")"
	}
	fmt.Fprintf(w, "%-18s %s\n%18s %s; from %s; unknown: %s\n", name, d.Meaning, "", typ, d.Source, d.Unknown)
	if len(d.Values) > 0 {
		fmt.Fprintf(w, "%18s one of %s\n", "", strings.Join(d.Values, ", "))
	}
}

func fieldJSON(d *collectors.FieldDoc) map[string]any {
	row := map[string]any{"name": d.Name, "type": d.Type.String(), "unit": d.Unit, "source": d.Source, "meaning": d.Meaning, "unknown": d.Unknown}
	if len(d.Aliases) > 0 {
		row["aliases"] = d.Aliases
	}
	if len(d.Values) > 0 {
		row["values"] = d.Values
	}
	return row
}
