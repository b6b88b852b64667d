package engine

import (
	"sockwarden/collectors"
	"sockwarden/engine/explain"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/report"
)

// These are what the rooms of the engine have, for who only knows the engine.
type (
	// Candidate is a socket that some rule matches or may match.
	Candidate = look.Candidate
	// EventSource says whether the kernel is asked when sockets enter their states.
	EventSource = look.EventSource
	// NamespaceError says that a namespace which was asked for by name could not be looked into.
	NamespaceError = look.NamespaceError
	// Report is the outcome of one cycle.
	Report = report.Report
	// Finding is one rule's decision about one socket.
	Finding = report.Finding
	// Decision says what is to become of a socket.
	Decision = report.Decision
	// ActionResult is what one rung of a ladder came to.
	ActionResult = report.ActionResult
	// Summary counts a cycle.
	Summary = report.Summary
	// Group is sockets that a rule decided on together.
	Group = report.Group
	// Leak is how the descriptors of a process grow.
	Leak = report.Leak
	// SparedError says that sockets are spared since somebody unseen may hold them.
	SparedError = report.SparedError
	// Question is which sockets and rules are to be explained.
	Question = explain.Question
	// Explanation says why rules take sockets or not.
	Explanation = explain.Explanation
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

// What live runs meet at a state file.
var (
	ErrLocked   = memory.ErrLocked
	ErrNoBootID = memory.ErrNoBootID
)

// NewCandidate makes a candidate of what was found out about a socket elsewhere, for
// whoever shows it: no cycle takes it.
func NewCandidate(s *collectors.Socket, ns *collectors.Namespace, f *collectors.Facts) *Candidate {
	return look.NewCandidate(s, ns, f)
}

// IsProtected reports whether a process is protected by its name.
func IsProtected(o *collectors.Owner) bool { return look.IsProtected(o) }

// DefaultStateFile is where memory is kept unless told otherwise, "" if there is no place.
func DefaultStateFile() string { return memory.DefaultStateFile() }
