package engine

import (
	"sockwarden/collectors"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
)

// These are what the rooms of the engine have, for who only knows the engine.
type (
	// Candidate is a socket that some rule matches or may match.
	Candidate = look.Candidate
	// EventSource says whether the kernel is asked when sockets enter their states.
	EventSource = look.EventSource
	// NamespaceError says that a namespace which was asked for by name could not be looked into.
	NamespaceError = look.NamespaceError
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
