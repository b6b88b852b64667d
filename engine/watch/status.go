package watch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"sockwarden/engine/pause"
	"sockwarden/engine/report"
	"sockwarden/engine/silence"
	"sockwarden/rules"
	"sockwarden/rules/lang"
)

// Status is what a watcher says of itself, and the document that programs read. A published
// one is never changed; whoever adds to it copies it.
type Status struct {
	// Version, PID, Paused, Well and Problems are for whoever answers with the status: the
	// loop leaves them empty.
	Version string       `json:"version"`
	PID     int          `json:"pid"`
	Mode    string       `json:"mode"` // report.ModeLive or report.ModeDry
	Started time.Time    `json:"started"`
	Every   float64      `json:"interval_seconds"`
	Well    bool         `json:"well"`
	Wrong   []string     `json:"problems"` // why it is not well
	Rules   RulesStatus  `json:"rules"`
	Cycle   *CycleStatus `json:"cycle,omitempty"` // the last that has ended, nil before the first
	// Running is since when a cycle has been running, zero between two cycles.
	Running time.Time `json:"running_since,omitzero"`
	// Next is when the next cycle is due.
	Next    time.Time     `json:"next,omitzero"`
	Breaker BreakerStatus `json:"breaker"`
	Paused  *pause.Pause  `json:"paused"` // nil if it is not
	// Silences are those in force, for whoever answers.
	Silences []SilenceStatus `json:"silences"`
	ByRule   []RuleStatus    `json:"by_rule"`
	Leaks    []ProcessStatus `json:"processes"`
	Events   EventsStatus    `json:"events"`
	// Report is of the last cycle, nil before the first has ended.
	Report *report.Report `json:"-"`
	// Due is when the interval asks for the next cycle.
	Due time.Time `json:"-"`
}

// RulesStatus says which rules are in force, and what became of the last change.
type RulesStatus struct {
	Generation string    `json:"generation"`
	Count      int       `json:"count"`
	Names      []string  `json:"names"` // of the rules in force
	Files      []string  `json:"files"`
	Loaded     time.Time `json:"loaded"` // when they came into force
	// Warnings are about those in force: what is valid, but maybe not meant.
	Warnings   []Problem  `json:"warnings,omitempty"`
	LastReload LastReload `json:"last_reload"`
	// Settling is a newer generation that is not in force yet, nil for none.
	Settling *Settling `json:"settling,omitempty"`
}

// LastReload is the last time that the rules changed, or could not be read.
type LastReload struct {
	Time time.Time `json:"time"`
	OK   bool      `json:"ok"`
	// Good is when valid rules were last read, or came into force.
	Good     time.Time `json:"-"`
	Problems []Problem `json:"problems,omitempty"` // why they were rejected
}

// Problem is one reason why rules were rejected, or a warning about them, with its place if
// it has one. The last of a list may only count those that are left out.
type Problem struct {
	ID      string `json:"id,omitempty"`
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`   // 1-based
	Column  int    `json:"column,omitempty"` // 1-based, in runes
	Message string `json:"message"`
	Source  string `json:"source,omitempty"` // the text of the line
}

// String is "file:line:col: message".
func (p Problem) String() string { return p.ofRules().String() }

// Detail is String with the kind, and the line with a caret under the place.
func (p Problem) Detail() string { return p.ofRules().Detail() }

func (p Problem) ofRules() rules.Problem {
	return rules.Problem{ID: lang.ID(p.ID), File: p.File, Line: p.Line, Column: p.Column, Message: p.Message, Source: p.Source}
}

// Settling is a change of rules that must stay for a moment before it is in force.
type Settling struct {
	Generation string    `json:"generation,omitempty"`
	Until      time.Time `json:"until,omitzero"`    // when it comes into force, if nothing holds it up
	Writing    []string  `json:"writing,omitempty"` // files that another process has open for writing
}

// Why says what newer rules wait for.
func (s *Settling) Why() string {
	if len(s.Writing) > 0 {
		return "another process has " + strings.Join(s.Writing, ", ") + " open for writing"
	}
	return "the new rules must stay the same for 2 seconds"
}

// CycleStatus is about the last cycle.
type CycleStatus struct {
	Time         time.Time      `json:"time"` // when it began
	Duration     float64        `json:"duration_seconds"`
	Scanned      int            `json:"scanned"`
	SocketsTotal int            `json:"sockets_total"`
	Namespaces   int            `json:"namespaces"`
	Summary      report.Summary `json:"summary"`
	Incomplete   bool           `json:"incomplete"`       // it could not look at everything
	Failed       string         `json:"failed,omitempty"` // why it could not look at anything
	Errors       []string       `json:"errors,omitempty"`
}

// BreakerStatus says whether the breaker has tripped.
type BreakerStatus struct {
	Limit   string   `json:"limit"`
	Tripped []string `json:"tripped"` // what has, in words; empty if it is calm
}

// RuleStatus is what a rule has found and done.
type RuleStatus struct {
	Rule     string         `json:"rule"`
	Mode     string         `json:"mode"`
	Findings int            `json:"findings"` // in the last cycle
	Hour     map[string]int `json:"hour"`     // results of the last hour, by name
	Day      map[string]int `json:"day"`      // and of the last 24
	Spared   string         `json:"spared,omitempty"`
}

// ProcessStatus is a process that is running out of descriptors.
type ProcessStatus struct {
	Process   string  `json:"process"`
	PID       int     `json:"pid"`
	Container string  `json:"container,omitempty"`
	FDs       int     `json:"fds"`
	FDLimit   uint64  `json:"fd_limit"`
	FullIn    float64 `json:"full_in_seconds,omitempty"` // at its present rate, 0 if that is not known
}

// SilenceStatus is a silence in force, with how many findings of the last cycle it covers.
type SilenceStatus struct {
	*silence.Silence
	Spares int `json:"spares"`
	// AtLeast says that it may cover more: not all were looked at.
	AtLeast bool `json:"spares_at_least,omitempty"`
	// MissingRules are rules that it names and that do not exist.
	MissingRules []string `json:"missing_rules,omitempty"`
	// Kept is the file that it is in.
	Kept string `json:"file,omitempty"`
}

// SilencedBy counts, for each of some silences, the findings of the last cycle that it
// covers. When ctx ends it counts no further.
func (s *Status) SilencedBy(ctx context.Context, in silence.List) []SilenceStatus {
	all := []SilenceStatus{}
	for _, one := range in {
		if one.Broken() != "" {
			continue
		}
		of := SilenceStatus{Silence: one, Kept: one.File}
		if s != nil && len(s.ByRule) > 0 {
			of.MissingRules = one.Missing(func(rule string) bool {
				return slices.ContainsFunc(s.ByRule, func(r RuleStatus) bool { return r.Rule == rule })
			})
		}
		if s != nil && s.Report != nil {
			for i, f := range s.Report.Findings {
				if i%countedAtOnce == 0 && ctx.Err() != nil {
					of.AtLeast = true
					break
				}
				if spared, _ := one.Spares(f.Candidate, f.Rule.Name); spared {
					of.Spares++
				}
			}
		}
		all = append(all, of)
	}
	return all
}

// countedAtOnce is how many findings are looked at until it matters that nobody waits.
const countedAtOnce = 256

// EventsStatus says whether the kernel tells when sockets enter their states.
type EventsStatus struct {
	On   bool   `json:"on"`
	Lost uint64 `json:"lost"` // since it began, until the last cycle: ages are proven without them
}

// late is by how many intervals a cycle may be late before the watcher is not well.
const late = 3

// Late says that no cycle has ended in time, "" if one has.
func (s *Status) Late(now time.Time) string {
	interval := time.Duration(s.Every * float64(time.Second))
	since := now.Sub(s.Due)
	switch {
	case since <= late*interval:
		return ""
	case !s.Running.IsZero():
		return "a cycle has been running for " + report.Short(now.Sub(s.Running).Round(time.Second))
	}
	return "the next cycle is late by " + report.Short(since.Round(time.Second))
}

// Unready says why the watcher is not ready, "" if it is: its rules are good, and its last
// cycle came in time.
func (s *Status) Unready(now time.Time) string {
	switch late := s.Late(now); {
	case late != "":
		return late
	case s.Cycle == nil:
		return "the first cycle has not ended yet"
	case s.Cycle.Failed != "":
		return "the last cycle failed: " + s.Cycle.Failed
	case !s.Rules.LastReload.OK:
		return s.rejected()
	}
	return ""
}

func (s *Status) rejected() string {
	return fmt.Sprintf("reload of %s rejected, the rules of %s go on", s.Rules.LastReload.Time.Format(time.TimeOnly), s.Rules.Loaded.Format(time.TimeOnly))
}

// At is the status with what is wrong at that time.
func (s *Status) At(now time.Time) *Status {
	c := *s
	c.Wrong = []string{}
	if !s.Rules.LastReload.OK {
		c.Wrong = append(c.Wrong, s.rejected())
	}
	if s.Cycle != nil && s.Cycle.Failed != "" {
		c.Wrong = append(c.Wrong, "the last cycle failed: "+s.Cycle.Failed)
	}
	if late := s.Late(now); late != "" {
		c.Wrong = append(c.Wrong, late)
	}
	if len(s.Breaker.Tripped) > 0 {
		c.Wrong = append(c.Wrong, "the breaker has tripped: "+s.Breaker.Tripped[0])
	}
	c.Well = len(c.Wrong) == 0
	return &c
}
