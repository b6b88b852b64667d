package report

import (
	"fmt"
	"log/slog"
	"strings"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
)

// Key tells a finding from all others, across cycles.
type Key struct {
	Rule   string
	Socket collectors.Key
}

// String is the key as text, for storage: the rule, a space, and what identifies the
// socket.
func (k Key) String() string {
	s := &k.Socket
	return fmt.Sprintf("%s %x.%x.%d.%d.%d", k.Rule, s.Cookie, s.NetNS, s.State, s.LocalPort, s.RemotePort)
}

// Standing is a key that stays the same while the sockets of a group come and go: of the
// group, or of the socket if the finding has no group.
func Standing(f *Finding) Key {
	if f.Group != nil {
		return Key{f.Rule.Name, f.Group.SocketKey()}
	}
	return KeyOf(f)
}

// KeyOf is the key of a finding.
func KeyOf(f *Finding) Key { return Key{f.Rule.Name, collectors.KeyOf(&f.Socket)} }

// Short writes a duration without zero parts: 5m, 1h30m, 12s.
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

// Attrs describes the socket of a finding, or says that there is none.
func (f *Finding) Attrs() []slog.Attr {
	if f.NoSocket() {
		return []slog.Attr{slog.Int("count", 0)}
	}
	sealed := f.Seal()
	return actions.Attrs(&sealed)
}
