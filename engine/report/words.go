package report

import (
	"log/slog"
	"strings"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
)

// Key tells a finding from all others, over cycles.
type Key struct {
	Rule   string
	Socket collectors.Key
}

// KeyOf is the key of a finding.
func KeyOf(f *Finding) Key { return Key{f.Rule.Name, collectors.KeyOf(&f.Socket)} }

// Short writes a time without the parts that are zero: 5m, 1h30m, 12s.
func Short(d time.Duration) string {
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
