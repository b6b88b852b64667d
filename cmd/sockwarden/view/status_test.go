package view

import (
	"strings"
	"testing"
	"time"

	"sockwarden/engine/pause"
	"sockwarden/engine/watch"
)

// The first line says whether the watcher acts and what is wrong, and another one for what
// newer rules wait.
func TestStatusSaysWhatMatters(t *testing.T) {
	now := time.Date(2026, 11, 26, 17, 0, 0, 0, time.UTC)
	forever, timed := &pause.Pause{By: "root"}, &pause.Pause{Since: now, Until: now.Add(16 * time.Minute), By: "anna"}
	for want, s := range map[string]*watch.Status{
		"LIVE, well": {Mode: "live", Well: true},
		"LIVE, but PAUSED by root until somebody resumes: nothing is done; otherwise well": {Mode: "live", Well: true, Paused: forever},
		"DRY RUN, but PAUSED by anna until 17:16:00: nothing is done; otherwise well":      {Mode: "dry-run", Well: true, Paused: timed},
		"LIVE, but PAUSED by root until somebody resumes: nothing is done; otherwise not well: a; b": {
			Mode: "live", Wrong: []string{"a", "b"}, Paused: forever,
		},
	} {
		first, _, _ := strings.Cut(statusText(t, s, now), "\n")
		if first != want {
			t.Errorf("%q, not %q", first, want)
		}
	}
	writing := []string{"/etc/r.yaml"}
	for want, settling := range map[string]*watch.Settling{
		"newer rules, generation 0123456, are not in force yet: another process has /etc/r.yaml open for writing\n": {Generation: "sha256:0123456789", Writing: writing},
		"newer rules, generation 0123456, are not in force yet: the new rules must stay the same for 2 seconds\n":   {Generation: "sha256:0123456789"},
		"newer rules are not in force yet: another process has /etc/r.yaml open for writing\n":                      {Writing: writing},
	} {
		s := &watch.Status{Well: true}
		if text := statusText(t, s, now); strings.Contains(text, "newer rules") {
			t.Errorf("none wait: %s", text)
		}
		s.Rules.Settling = settling
		if text := statusText(t, s, now); !strings.Contains(text, "\n"+want) {
			t.Errorf("no line %q in\n%s", want, text)
		}
	}
}

func statusText(t *testing.T, s *watch.Status, now time.Time) string {
	t.Helper()
	var b strings.Builder
	if err := Status(Out{W: &b, Format: Text, Width: 200}, s, now, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
