package report

import (
	"fmt"
	"log/slog"
	"time"

	"sockwarden/collectors"
)

// TrippedError says that a breaker has tripped: nothing was done to the sockets that it
// covers.
type TrippedError struct {
	What   string // what the rules would act on
	Limit  string // the exceeded limit as written: count 500
	Rule   string // the rule that accounts for most of it, "" for none
	GoOn   string // what to do if that is right
	Living int    // how many the rules would act on
	Of     int    // how many sockets there are
	Calm   int    // how many calm cycles are still needed; 0 while the limit is exceeded

	Name string // of the threshold
}

// Error says everything on one line.
func (t *TrippedError) Error() string {
	return fmt.Sprintf("breaker: would act on %s: %s; acted on none. %s", t.What, t.why(), t.GoOn)
}

func (t *TrippedError) why() string {
	if t.Calm > 0 {
		return fmt.Sprintf("tripped before (%s), %s to go", t.Limit, collectors.Counted(t.Calm, "calm cycle"))
	}
	return "more than " + t.Limit
}

// Reason is the reason of each finding: the whole is said once.
func (t *TrippedError) Reason() string { return "breaker: " + t.why() }

// Log writes a log line, with how long it has lasted, if known.
func (t *TrippedError) Log(log *slog.Logger, lasts time.Duration) {
	attrs := []any{"would_act", t.What, "limit", t.Limit}
	if t.Rule != "" {
		attrs = append(attrs, "rule", t.Rule)
	}
	if t.Calm > 0 {
		attrs = append(attrs, "calm_cycles_to_go", t.Calm)
	}
	if lasts > 0 {
		attrs = append(attrs, "lasts", Short(lasts))
	}
	log.Warn("breaker tripped, acted on none", append(attrs, "go_on", t.GoOn)...)
}
