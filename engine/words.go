package engine

import (
	"log/slog"
	"strings"
	"time"

	"sockwarden/actions"
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

// Attrs describes the socket of a finding, or that there is none.
func (f *Finding) Attrs() []slog.Attr {
	if f.NoSocket() {
		return []slog.Attr{slog.Int("count", 0)}
	}
	sealed := f.Seal()
	return actions.Attrs(&sealed)
}
