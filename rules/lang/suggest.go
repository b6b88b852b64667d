package lang

import (
	"fmt"
	"slices"
	"strings"
)

// maxSuggested bounds the names that are compared, in bytes: anything longer is not a
// slip of the finger.
const maxSuggested = 64

// Suggest returns ` (did you mean "x"?)` for the candidate nearest to what was
// written, or "" if none is near.
func Suggest(written string, candidates []string) string {
	if len(written) > maxSuggested {
		return ""
	}
	most := max(2, len(written)/3)
	if len(written) < 4 {
		most = 1 // of three letters two others are another word
	}
	best, distance := "", most+1
	for _, c := range candidates {
		if len(c)-len(written) >= distance || len(written)-len(c) >= distance {
			continue // so many letters are missing
		}
		if d := editDistance(strings.ToLower(written), strings.ToLower(c)); d < distance {
			best, distance = c, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %q?)", best)
}

// editDistance counts insertions, deletions, substitutions and swaps of
// neighbours between a and b.
func editDistance(a, b string) int {
	prev2, prev, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range prev {
		prev[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(prev[j]+1, row[j-1]+1, prev[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], prev2[j-2]+1)
			}
		}
		prev2, prev, row = prev, row, prev2
	}
	return prev[len(b)]
}

// Choices lists names for an error: a, b or c.
func Choices(names []string) string {
	switch len(names) {
	case 0:
		return ""
	case 1:
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
