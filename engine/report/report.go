package report

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/look"
	"sockwarden/rules"
)

// Decision says what is to become of a socket that a rule matches.
type Decision string

// The decisions of this version; the set is open.
const (
	DecideAct      Decision = "act"
	DecideObserve  Decision = "observe"
	DecidePending  Decision = "pending"
	DecideUnless   Decision = "unless"
	DecideProtect  Decision = "protected"
	DecideGuarded  Decision = "guarded"
	DecideLimited  Decision = "limited"
	DecideBreaker  Decision = "breaker"
	DecideCooldown Decision = "cooldown"
	DecideShadowed Decision = "shadowed"
	DecidePaused   Decision = "paused"
	DecideSoak     Decision = "soak"
	DecideCanary   Decision = "canary"
	DecideWindow   Decision = "window"
)

// Observes reports whether a rule only looks at what was decided so: by its mode, for a
// time, or in part.
func (d Decision) Observes() bool {
	return d == DecideObserve || d == DecideSoak || d == DecideCanary
}

// ActionResult is what one rung of a ladder came to.
type ActionResult struct {
	Action string         `json:"action"` // name of the plugin
	Result actions.Result `json:"result"`
	Error  string         `json:"error"`
	Effect string         `json:"effect,omitempty"` // what was or would be done, if that says more: "signal TERM"
	Detail string         `json:"detail,omitempty"`
	// Process and PID say which process an action on a process was for: a socket can
	// have several.
	Process string `json:"process,omitempty"`
	PID     int    `json:"pid,omitempty"`
	// Keepers are those who still have the descriptor, of fd_still_held.
	Keepers []collectors.Owner `json:"-"`

	// Ladder is a number of the ladder that it is a rung of, the same for each of its
	// rungs and no other ladder of the finding.
	Ladder int `json:"-"`
}

// Outcome is what a rung came to for a target.
type Outcome struct {
	Generation string // of the rules
	Rule       string
	Findings   []*Finding        // that share the target
	Process    *collectors.Owner // that it was for, nil for none
	Action     string            // name of the plugin
	Effect     string            // what it did
	actions.Outcome
}

// Text says what was or would be done, and to which of several processes.
func (r *ActionResult) Text(f *Finding) string {
	text := cmp.Or(r.Effect, r.Action)
	if r.PID != 0 && len(f.Facts.Owners) > 1 {
		text += fmt.Sprintf(" %s[%d]", r.Process, r.PID)
	}
	return text
}

// Finding is one rule's decision about one socket.
type Finding struct {
	Rule     *rules.Rule
	Decision Decision
	Reason   string // why, for everything but act
	Actions  []ActionResult
	Group    *Group // nil for a rule that decides on single sockets
	// Collateral is how many established connections would die with the process.
	Collateral int
	// Held is how long what is pending has matched.
	Held time.Duration
	*look.Candidate

	// New says that it is new, or decided otherwise than in the cycle before.
	New bool
	// Unsettled says that the decision is because rules have just changed: it is no
	// news, and may be as before in a moment.
	Unsettled bool
}

// MarshalJSON writes the documented shape.
func (f *Finding) MarshalJSON() ([]byte, error) {
	labels := f.Rule.Labels
	if labels == nil {
		labels = map[string]string{}
	}
	results := f.Actions
	if results == nil {
		results = []ActionResult{}
	}
	doc := map[string]any{
		"rule": f.Rule.Name, "labels": labels, "decision": f.Decision, "reason": f.Reason,
		"actions": results, "socket": map[string]any{},
	}
	if !f.NoSocket() {
		r := f.Record()
		doc["socket"] = collectors.Map(&r)
	}
	if f.Group != nil {
		doc["group"] = f.Group.Describe()
	}
	if f.Collateral > 0 {
		doc["collateral"] = f.Collateral
	}
	return json.Marshal(doc) //nolint:wrapcheck // encoding/json wraps it
}

// Last returns the result of the last rung that was tried, "" for none. Of
// several processes that the rule is for, it is that of one that it failed with.
func (f *Finding) Last() ActionResult {
	var last ActionResult
	seen := map[int]bool{}
	for _, r := range slices.Backward(f.Actions) {
		if seen[r.Ladder] {
			continue // an earlier rung
		}
		seen[r.Ladder] = true
		if failed := r.Result != actions.Would && r.Result != actions.Changed && !r.Result.Succeeded(); failed {
			return r
		}
		if last.Result == "" {
			last = r
		}
	}
	return last
}

// Summary counts a cycle. Matched is the sum of the others from WouldAct to
// Failed.
type Summary struct {
	SocketsTotal int `json:"sockets_total"` // by /proc/net/sockstat
	Scanned      int `json:"scanned"`       // records that reached the rules
	Matched      int `json:"matched"`
	WouldAct     int `json:"would_act"`
	Acted        int `json:"acted"`
	Observed     int `json:"observed"`
	Protected    int `json:"protected"`
	Skipped      int `json:"skipped"`
	Failed       int `json:"failed"`
	FDStillHeld  int `json:"fd_still_held"`
}

// The modes of a report.
const (
	ModeLive = "live"
	ModeDry  = "dry-run"
)

// Report is the outcome of one cycle.
type Report struct {
	Mode       string // dry-run or live
	Files      []rules.FileInfo
	Generation string
	Started    time.Time
	Duration   time.Duration
	Errors     []error
	Incomplete bool // not everything could be looked at
	Summary    Summary
	Findings   []*Finding

	// Next is when a socket becomes old enough for a rule, or a rule has matched for
	// long enough, as far as it can be told; zero if nothing does.
	Next time.Time
	// Namespaces is how many were looked at.
	Namespaces int
	// Unseen counts sockets of namespaces that were not looked at; they are not
	// counted by an unprivileged run.
	Unseen, UnseenNamespaces int
	// ByState counts the scanned records.
	ByState map[collectors.State]int
	// OwnersHidden counts matching sockets whose owner could not be read, and
	// HiddenWhy says of one why, and what helps.
	OwnersHidden int
	HiddenWhy    string
	// SparedUnseen counts the findings that are spared since somebody who cannot be
	// seen may hold their socket, and UnseenWhy says of one why that is.
	SparedUnseen int
	UnseenWhy    string
	// AgeUnproven counts sockets that a rule would take but for their age, which
	// one look could not prove.
	AgeUnproven int
	// Young are the sockets that rules take only when they are older, by rule.
	Young []look.Young
	// Known are those of the errors that an earlier run has said, and that stand.
	Known []error
	// AuditError is set if the audit log lacks lines; it is among the errors, too.
	AuditError error
	// HostError is set if the host refuses to act at all.
	HostError error
}

// MarshalJSON writes the documented shape.
func (r *Report) MarshalJSON() ([]byte, error) {
	files := make([]string, len(r.Files))
	for i, f := range r.Files {
		files[i] = f.Path
	}
	errs := make([]string, len(r.Errors))
	for i, err := range r.Errors {
		errs[i] = err.Error()
	}
	findings := r.Findings
	if findings == nil {
		findings = []*Finding{}
	}
	//nolint:wrapcheck // encoding/json wraps it
	return json.Marshal(struct {
		Mode       string     `json:"mode"`
		Rules      []string   `json:"rules"`
		Generation string     `json:"generation"`
		Started    string     `json:"started"`
		Duration   float64    `json:"duration_seconds"`
		Errors     []string   `json:"errors"`
		Summary    Summary    `json:"summary"`
		Findings   []*Finding `json:"findings"`
	}{r.Mode, files, r.Generation, r.Started.Format(time.RFC3339), r.Duration.Seconds(), errs, r.Summary, findings})
}

// Count fills in the summary from the findings.
func (r *Report) Count() {
	s := &r.Summary
	*s = Summary{SocketsTotal: s.SocketsTotal, Scanned: s.Scanned, Matched: len(r.Findings)}
	for _, f := range r.Findings {
		last := f.Last().Result
		switch {
		case f.Decision.Observes():
			s.Observed++
		case f.Decision == DecideProtect:
			s.Protected++
		case f.Decision != DecideAct, last == actions.Changed, last == "":
			s.Skipped++
		case last == actions.Would:
			s.WouldAct++
		case last.Succeeded():
			s.Acted++
			if last == actions.FDStillHeld {
				s.FDStillHeld++
			}
		default:
			s.Failed++
		}
	}
}

// SparedError says in Report.Errors that sockets are spared since somebody who cannot
// be seen may hold them.
type SparedError struct {
	Sockets int
	Why     string // of one of them
}

func (e *SparedError) Error() string {
	return fmt.Sprintf("%s spared: %s", collectors.Counted(e.Sockets, "matching socket"), e.Why)
}

// AllUnseen reports whether nothing could be acted on only since somebody who
// cannot be seen may hold the sockets.
func (r *Report) AllUnseen() bool {
	return r.SparedUnseen > 0 && !slices.ContainsFunc(r.Findings, func(f *Finding) bool { return f.Decision == DecideAct })
}

// Failed reports whether an action failed.
func (r *Report) Failed() bool { return r.Summary.Failed > 0 }

// Unopened returns the namespaces that were asked for by name and not looked into.
func (r *Report) Unopened() []*look.NamespaceError {
	var found []*look.NamespaceError
	for _, err := range r.Errors {
		if missing, ok := errors.AsType[*look.NamespaceError](err); ok {
			found = append(found, missing)
		}
	}
	return found
}

// IsKnown reports whether an earlier run has said an error, which stands.
func (r *Report) IsKnown(err error) bool {
	return slices.ContainsFunc(r.Known, func(e error) bool { return e.Error() == err.Error() })
}

// Snapshot is the report as it is now: nothing that happens later changes it.
func (r *Report) Snapshot() *Report {
	s := *r
	s.Errors = slices.Clone(r.Errors)
	findings := make([]Finding, len(r.Findings))
	s.Findings = make([]*Finding, len(r.Findings))
	for i, f := range r.Findings {
		findings[i] = *f
		findings[i].Actions = slices.Clone(f.Actions)
		s.Findings[i] = &findings[i]
	}
	return &s
}
