package actions

// Scope is what one effect of an action is for. Guards, counting and ladders follow
// from it.
type Scope uint8

// The scopes. The first one, which a plugin has that names none, is guarded as
// strictly as any that acts on a process.
const (
	// ScopeNone is for neither a socket nor a process: the action works elsewhere, as
	// by a program that it runs, for each finding.
	ScopeNone Scope = iota
	// ScopeSocket is for one socket, whoever has it.
	ScopeSocket
	// ScopeOwnedSocket is for one socket, by way of the process that has it, and so
	// never for one without an owner.
	ScopeOwnedSocket
	// ScopeProcess is for a process: one effect for each process and cycle, however
	// many of its sockets matched, and never for a socket without an owner.
	ScopeProcess
	// ScopeUnit is for the systemd unit of a process, or for the process where it has
	// none: one effect for each unit and cycle.
	ScopeUnit
)

// OnProcess reports whether the target is a process, or its unit, with all sockets.
func (s Scope) OnProcess() bool { return s == ScopeProcess || s == ScopeUnit }

// OnUnit reports whether the target is the systemd unit of a process.
func (s Scope) OnUnit() bool { return s == ScopeUnit }

// Single reports whether the target is one socket and nothing else. Such an action
// cannot follow one on a process in a ladder: that is for all sockets of the process.
func (s Scope) Single() bool { return s == ScopeSocket || s == ScopeOwnedSocket }

// OnOwner reports whether it works on the socket of its owner.
func (s Scope) OnOwner() bool { return s == ScopeOwnedSocket }

// NeedsOwner reports whether there must be a process that has the socket.
func (s Scope) NeedsOwner() bool { return s.OnOwner() || s.OnProcess() }

// Words says for people what the target is.
func (s Scope) Words() string {
	switch s {
	case ScopeSocket:
		return "socket"
	case ScopeOwnedSocket:
		return "socket that a process has"
	case ScopeProcess:
		return "process"
	case ScopeUnit:
		return "systemd unit"
	case ScopeNone:
	}
	return "finding"
}

// Wide reports whether an action does more than end or change one connection: it is for
// a process, or runs a program.
func (p *Plugin) Wide() bool { return !p.Harmless && !p.Single() }
