package view

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sockwarden/engine"
	"sockwarden/rules"
)

// sparedReasons counts what was spared, by reason: "spared 31: 22 pending ...".
func sparedReasons(r *engine.Report) string {
	counts := map[string]int{}
	longest := map[*rules.Rule]time.Duration{}
	for _, f := range r.Findings {
		longest[f.Rule] = max(longest[f.Rule], f.Held)
	}
	total := 0
	for _, f := range r.Findings {
		if !inTable(f) {
			total++
			counts[sparedReason(f, longest[f.Rule])]++
		}
	}
	if total == 0 {
		return ""
	}
	reasons := slices.Collect(maps.Keys(counts))
	slices.SortFunc(reasons, func(a, b string) int { return cmp.Or(counts[b]-counts[a], strings.Compare(a, b)) })
	var parts []string
	for _, reason := range reasons {
		parts = append(parts, fmt.Sprintf("%d %s", counts[reason], Printable(reason)))
	}
	return fmt.Sprintf("spared %d: %s", total, strings.Join(parts, ", "))
}

// sparedReason is the heading under which findings spared for the same reason are
// counted; longest is the longest time that a socket has matched the rule.
func sparedReason(f *engine.Finding, longest time.Duration) string {
	switch f.Decision { //nolint:exhaustive // the others speak for themselves
	case engine.DecidePending:
		if f.Rule.For <= 0 || f.Held >= f.Rule.For {
			return "pending (" + f.Reason + ")"
		}
		return fmt.Sprintf("pending (%s for %s, longest %s)", f.Rule.Name, f.Rule.For, longest.Round(time.Second))
	case engine.DecideSilenced:
		return "silenced (" + f.Reason + ")"
	case engine.DecideGuarded:
		return "guarded (" + f.Reason + ")"
	case engine.DecideShadowed:
		return "shadowed (" + f.Reason + ")"
	case engine.DecideCooldown:
		return fmt.Sprintf("cooldown (%s)", f.Rule.Name)
	}
	return f.Reason
}
