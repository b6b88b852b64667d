package engine

import (
	"sockwarden/collectors"
	"sockwarden/engine/explain"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/report"
)

// Names from the rooms of the engine, for callers that import only the engine.
type (
	// Candidate is a socket that some rule matches or may match.
	Candidate = look.Candidate
	// EventSource says whether to ask the kernel when sockets enter their states.
	EventSource = look.EventSource
	// NamespaceError says that we could not look into a namespace that was named.
	NamespaceError = look.NamespaceError
	// Report is the outcome of one cycle.
	Report = report.Report
	// Finding is one rule's decision about one socket.
	Finding = report.Finding
	// Decision says what is to become of a socket.
	Decision = report.Decision
	// ActionResult is the result of one rung of a ladder.
	ActionResult = report.ActionResult
	// Summary counts a cycle.
	Summary = report.Summary
	// Group is sockets that a rule judged together.
	Group = report.Group
	// Leak is how a process's descriptors grow.
	Leak = report.Leak
	// SparedError says that sockets are spared because somebody invisible may hold them.
	SparedError = report.SparedError
	// Question says which sockets and rules to explain.
	Question = explain.Question
	// Explanation says why rules take sockets or not.
	Explanation = explain.Explanation
	// Census is how many sockets there are, and who listens.
	Census = look.Census
	// TrippedError says that a breaker has tripped.
	TrippedError = report.TrippedError
)

// The decisions.
const (
	DecideAct      = report.DecideAct
	DecideObserve  = report.DecideObserve
	DecidePending  = report.DecidePending
	DecideUnless   = report.DecideUnless
	DecideProtect  = report.DecideProtect
	DecideGuarded  = report.DecideGuarded
	DecideSilenced = report.DecideSilenced
	DecideLimited  = report.DecideLimited
	DecideBreaker  = report.DecideBreaker
	DecideCooldown = report.DecideCooldown
	DecideShadowed = report.DecideShadowed
	DecidePaused   = report.DecidePaused
	DecideSoak     = report.DecideSoak
	DecideCanary   = report.DecideCanary
	DecideWindow   = report.DecideWindow
)

// The choices about events.
const (
	EventsAuto = look.EventsAuto
	EventsOn   = look.EventsOn
	EventsOff  = look.EventsOff
)

// What live runs can meet at a state file.
var (
	ErrLocked   = memory.ErrLocked
	ErrNoBootID = memory.ErrNoBootID
)

// NewCandidate makes a candidate from facts found elsewhere, only to show it: no cycle
// takes it.
func NewCandidate(s *collectors.Socket, ns *collectors.Namespace, f *collectors.Facts) *Candidate {
	return look.NewCandidate(s, ns, f)
}

// IsProtected reports whether a process is protected by its name.
func IsProtected(o *collectors.Owner) bool { return look.IsProtected(o) }

// DefaultStateFile is where memory is kept by default, "" if there is no place.
func DefaultStateFile() string { return memory.DefaultStateFile() }
