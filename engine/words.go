package engine

import (
	"strings"
	"time"

	"sockwarden/collectors"
)

// findingKey tells a finding from all others, over cycles.
type findingKey struct {
	Rule   string
	Socket collectors.Key
}

// keyOf is the key of a finding.
func keyOf(f *Finding) findingKey { return findingKey{f.Rule.Name, collectors.KeyOf(&f.Socket)} }

// short writes a time without the parts that are zero: 5m, 1h30m, 12s.
func short(d time.Duration) string {
	if d < 10*time.Second {
		return d.Round(time.Millisecond).String()
	}
	s := d.Round(time.Second).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}
