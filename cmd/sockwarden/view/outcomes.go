package view

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sockwarden/actions"
	"sockwarden/engine"
)

// changedTexts says how targets had changed before they could be destroyed, the most
// frequent change first.
func changedTexts(r *engine.Report) string {
	counts := map[string]int{}
	for _, f := range r.Findings {
		if last := f.Last(); last.Result == actions.Changed {
			counts[last.Detail]++
		}
	}
	texts := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	const few = 3
	if len(texts) > few {
		texts = append(texts[:few], "...")
	}
	return strings.Join(texts, "; ")
}

func errorTexts(r *engine.Report) map[string]bool {
	texts := map[string]bool{}
	for _, f := range r.Findings {
		if last := f.Last(); last.Error != "" {
			texts[fmt.Sprintf("%s: %s", last.Result, last.Error)] = true
		} else if last.Result == actions.Refused || last.Result == actions.Unchanged {
			texts[fmt.Sprintf("%s: %s", last.Result, last.Detail)] = true
		}
	}
	return texts
}
