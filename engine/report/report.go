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

// Decision says what should happen to a socket that a rule matches.
type Decision string

// The decisions of this version; later ones may add more.
const (
	DecideAct      Decision = "act"
	DecideObserve  Decision = "observe"
	DecidePending  Decision = "pending"
	DecideUnless   Decision = "unless"
	DecideProtect  Decision = "protected"
	DecideGuarded  Decision = "guarded"
	DecideSilenced Decision = "silenced"
	DecideLimited  Decision = "limited"
	DecideBreaker  Decision = "breaker"
	DecideCooldown Decision = "cooldown"
	DecideShadowed Decision = "shadowed"
	DecidePaused   Decision = "paused"
	DecideSoak     Decision = "soak"
	DecideCanary   Decision = "canary"
	DecideWindow   Decision = "window"
)

// Observes reports whether the rule only observes: by its mode, for a time, or for a part
// of its findings.
func (d Decision) Observes() bool {
	return d == DecideObserve || d == DecideSoak || d == DecideCanary
}

// ActionResult is the result of one rung of a ladder.
type ActionResult struct {
	Action string         `json:"action"` // name of the plugin
	Result actions.Result `json:"result"`
	Error  string         `json:"error"`
	Effect string         `json:"effect,omitempty"` // what it did or would do, if that says more: "signal TERM"
	Detail string         `json:"detail,omitempty"`
	// Process and PID say which process an action on processes was for: a socket can have
	// several.
	Process string `json:"process,omitempty"`
	PID     int    `json:"pid,omitempty"`
	// Keepers are the owners that keep the descriptor, if the result is fd_still_held.
	Keepers []collectors.Owner `json:"-"`

	// Ladder numbers the ladder of this rung: the same for all its rungs, different for
	// the other ladders of the finding.
	Ladder int `json:"-"`
}

// Outcome is the result of a rung for a target.
type Outcome struct {
	Generation string // of the rules
	Rule       string
	Findings   []*Finding        // those that share the target
	Process    *collectors.Owner // the process acted on, nil for none
	Action     string            // name of the plugin
	Effect     string            // what it did
	actions.Outcome
}

// Text says what was or would be done, and to which process if the finding does not show it:
// one of several, or of a listener.
func (r *ActionResult) Text(f *Finding) string {
	text := cmp.Or(r.Effect, r.Action)
	if r.PID != 0 && len(f.Facts.Owners) != 1 {
		text += fmt.Sprintf(" %s[%d]", r.Process, r.PID)
	}
	return text
}

// Finding is one rule's decision about one socket.
type Finding struct {
	Rule     *rules.Rule
	Decision Decision
	Reason   string // why; for act only where a rule keeps some of a group
	Actions  []ActionResult
	Group    *Group // nil for a rule that decides on single sockets
	// Collateral is how many established connections would die with the process.
	Collateral int
	// Held is how long a pending finding has matched.
	Held time.Duration
	*look.Candidate

	// New says that the finding is new, or that its decision has changed since the last
	// cycle.
	New bool
	// Unsettled says that the decision is due to rules that have just changed: it is no
	// news, and may soon be as before.
	Unsettled bool
	// Muted says that a silence covers it: no message tells of it, whatever is decided.
	Muted bool
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

// Last returns the result of the last rung that was tried, "" for none. If the rule acts
// on several processes and one failed, it is that one's.
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

// Summary counts a cycle. Matched is the sum of the counts from WouldAct to Failed.
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
	// Recording says what was looked at if that was no host: a recording of which, and when.
	Recording  string
	Mode       string // dry-run or live
	Files      []rules.FileInfo
	Generation string
	Started    time.Time
	Duration   time.Duration
	Errors     []error
	Incomplete bool // we could not look at everything
	Summary    Summary
	Findings   []*Finding

	// Next is when a socket will be old enough for a rule, or a rule will have matched
	// for long enough, as far as we can tell; zero if neither will.
	Next time.Time
	// Namespaces is how many we looked at.
	Namespaces int
	// Unseen counts sockets in the UnseenNamespaces namespaces that we did not look at.
	// An unprivileged run does not count them.
	Unseen, UnseenNamespaces int
	// ByState counts the scanned records.
	ByState map[collectors.State]int
	// OwnersHidden counts matching sockets whose owner we could not read; HiddenWhy says,
	// for one of them, why, and what helps.
	OwnersHidden int
	HiddenWhy    string
	// SparedUnseen counts the findings that are spared because somebody whom we cannot
	// see may hold their socket; UnseenWhy says, for one of them, why.
	SparedUnseen int
	UnseenWhy    string
	// AgeUnproven counts sockets that a rule would take if a single look could prove
	// their age.
	AgeUnproven int
	// Young are the sockets that are not yet old enough for a rule, by rule.
	Young []look.Young
	// Known are those of the errors that an earlier run has reported and that persist.
	Known []error
	// AuditError is set if the audit log lacks lines; it is also among the errors.
	AuditError error
	// HostError is set if the host refuses all actions.
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
		Recording  string     `json:"recording,omitempty"`
		Rules      []string   `json:"rules"`
		Generation string     `json:"generation"`
		Started    string     `json:"started"`
		Duration   float64    `json:"duration_seconds"`
		Errors     []string   `json:"errors"`
		Summary    Summary    `json:"summary"`
		Findings   []*Finding `json:"findings"`
	}{r.Mode, r.Recording, files, r.Generation, r.Started.Format(time.RFC3339), r.Duration.Seconds(), errs, r.Summary, findings})
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

// SparedError says in Report.Errors that sockets are spared because somebody whom we
// cannot see may hold them.
type SparedError struct {
	Sockets int
	Why     string // for one of them
}

func (e *SparedError) Error() string {
	return fmt.Sprintf("%s spared: %s", collectors.Counted(e.Sockets, "matching socket"), e.Why)
}

// AllUnseen reports whether nothing could be acted on only because somebody whom we
// cannot see may hold the sockets.
func (r *Report) AllUnseen() bool {
	return r.SparedUnseen > 0 && !slices.ContainsFunc(r.Findings, func(f *Finding) bool { return f.Decision == DecideAct })
}

// Failed reports whether an action failed.
func (r *Report) Failed() bool { return r.Summary.Failed > 0 }

// Unopened returns the namespaces that were named and could not be looked into.
func (r *Report) Unopened() []*look.NamespaceError {
	var found []*look.NamespaceError
	for _, err := range r.Errors {
		if missing, ok := errors.AsType[*look.NamespaceError](err); ok {
			found = append(found, missing)
		}
	}
	return found
}

// IsKnown reports whether an earlier run has reported an error that persists.
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
