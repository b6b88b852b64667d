package view

import (
	"fmt"
	"strings"

	"sockwarden/rules"
)

// Kinds explains kinds of problems: all that there is to say of one, what it means of
// each of several.
func Kinds(o Out, kinds []rules.Kind) error {
	switch {
	case o.Format != Text:
		return writeRows(o, len(kinds), func(i int) map[string]any { return kindJSON(&kinds[i]) })
	case len(kinds) == 1:
		oneKind(o, &kinds[0])
		return nil
	}
	const indent = "\n    "
	for i := range kinds {
		k := &kinds[i]
		fmt.Fprintf(o.W, "%s (%s)%s%s\n", k.ID, k.Severity(), indent, strings.Join(wrapped(k.Means, o.prose()-len(indent)+1), indent))
	}
	return nil
}

func kindJSON(k *rules.Kind) map[string]any {
	row := map[string]any{"id": k.ID, "severity": k.Severity(), "means": k.Means, "cure": k.Cure}
	if k.Bad != "" {
		row["bad"], row["good"] = k.Bad, k.Good
	}
	return row
}

func oneKind(o Out, k *rules.Kind) {
	o.say("%s (%s)", k.ID, k.Severity())
	o.say("%s", k.Means)
	o.say("cure: %s", k.Cure)
	if k.Bad != "" {
		fmt.Fprintf(o.W, "\nnot so:\n%s\nbut so:\n%s", quoted(k.Bad), quoted(k.Good))
	}
	if k.Warning {
		fmt.Fprintf(o.W, "\nwhere it is meant, above the line or the rule:\n    # sockwarden:ignore %s REASON\n", k.ID)
	}
}

// quoted sets a text apart.
func quoted(text string) string {
	return "    " + strings.ReplaceAll(strings.TrimSuffix(text, "\n"), "\n", "\n    ") + "\n"
}
