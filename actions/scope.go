package actions

// Scope is what one effect acts on. Guards, counting and ladders follow from it.
type Scope uint8

// The scopes. The first one, the default of a plugin that names none, is guarded as
// strictly as an action on a process.
const (
	// ScopeNone is for neither a socket nor a process: for each finding the action works
	// elsewhere, such as through a program that it runs.
	ScopeNone Scope = iota
	// ScopeSocket is for one socket, whoever owns it.
	ScopeSocket
	// ScopeOwnedSocket is for one socket, through the process that owns it, and so never
	// for a socket without an owner.
	ScopeOwnedSocket
	// ScopeProcess is for a process: one effect per process and cycle, however many of
	// its sockets matched, and never for a socket without an owner.
	ScopeProcess
	// ScopeUnit is for the container of a process or, outside of one, for its systemd
	// unit, and for the process where it has neither: one effect for each of these and
	// cycle.
	ScopeUnit
)

// OnProcess reports whether the target is a process, or its unit or container, with all
// sockets.
func (s Scope) OnProcess() bool { return s == ScopeProcess || s == ScopeUnit }

// OnUnit reports whether the target is the systemd unit of a process, or its container.
func (s Scope) OnUnit() bool { return s == ScopeUnit }

// Single reports whether the target is exactly one socket. Such an action cannot follow
// one on a process in a ladder, which stands for all sockets of the process.
func (s Scope) Single() bool { return s == ScopeSocket || s == ScopeOwnedSocket }

// OnOwner reports whether it works on the socket through its owner.
func (s Scope) OnOwner() bool { return s == ScopeOwnedSocket }

// NeedsOwner reports whether it needs a process that has the socket.
func (s Scope) NeedsOwner() bool { return s.OnOwner() || s.OnProcess() }

// Words describes the target for people.
func (s Scope) Words() string {
	switch s {
	case ScopeSocket:
		return "socket"
	case ScopeOwnedSocket:
		return "socket that a process has"
	case ScopeProcess:
		return "process"
	case ScopeUnit:
		return "systemd unit or container"
	case ScopeNone:
	}
	return "finding"
}

// Wide reports whether an action does more than end or change one connection: it acts on
// a process, or runs a program.
func (p *Plugin) Wide() bool { return !p.Harmless && !p.Single() }
