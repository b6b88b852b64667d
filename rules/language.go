package rules

import (
	"maps"
	"slices"
	"time"

	"sockwarden/rules/lang"
)

// What the packages above need of the language, by the names that rules use.
type (
	// Cond is a compiled condition.
	Cond = lang.Condition
	// Tri is the value of a condition: true, false, or not known.
	Tri = lang.Tri
	// Set is a list that a condition can ask with "in".
	Set = lang.Set
)

// The values of a condition.
const (
	Unknown = lang.Unknown
	False   = lang.False
	True    = lang.True
)

// ParseDuration reads a time as rules files and flags write it: a bare number is
// seconds, otherwise units as in 90s, 5m, 1h30m, 2d.
func ParseDuration(text string) (time.Duration, error) {
	return lang.ParseDuration(text)
}

// ParsePorts reads the value of --port: a port, a range, or the name of a set in sets.
func ParsePorts(text string, sets map[string]*Set) (*Set, error) { return lang.ParsePorts(text, sets) }

// Suggest returns ` (did you mean "x"?)` for the candidate nearest to what was written,
// or "" if none is near.
func Suggest(written string, candidates []string) string { return lang.Suggest(written, candidates) }

// BuiltinSets returns the sets that every rules file can use without defining
// them: rustdesk, the TCP ports of a RustDesk server.
func BuiltinSets() map[string]*Set {
	var b lang.SetBuilder
	_ = b.Add("21115-21119", false) // it is right
	return map[string]*Set{"rustdesk": b.Set()}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
