package actions

import "sockwarden/collectors"

// Refuses says why a rung never acts on sockets of this kind, whatever the host can do,
// "" if it may. It reads only the protocol, the state, and whether the socket has an
// owner.
func (b *Bound) Refuses(s *collectors.Socket) string {
	switch {
	case b.Harmless, b.WithoutSocket:
		return ""
	case s.Protocol == collectors.UDP && !b.Allowed.Has(AllowUDP):
		return "it is about UDP, " + b.notAllowed(AllowUDP)
	case s.Protocol.Connects() && s.State == collectors.Listen && !b.Allowed.Has(b.ForListen()):
		return "it is about listeners, " + b.notAllowed(b.ForListen())
	case collectors.Unaccepted(s) && !b.Allowed.Has(b.ForUnaccepted()) && b.OptIn(AllowListener) != "":
		return "it is about connections that wait to be accepted, " + b.notAllowed(AllowListener)
	case collectors.Unaccepted(s) && b.Allowed.Has(AllowListener):
		return ""
	case b.NeedsOwner() && s.Inode == 0:
		return "no process has such sockets, and " + b.Name + " is for the process"
	case s.Protocol == collectors.MPTCP && b.RefusesMPTCP() != "":
		return "it is about " + b.RefusesMPTCP()
	case !b.OnProcess() && s.Protocol.Connects() && s.State == collectors.Close:
		return "these are bound, not connected: the kernel cannot destroy them"
	}
	return ""
}

// RefusesMPTCP says why the action is not for connections of MPTCP, and what is, "" if it
// is, or is not for single connections.
func (p *Plugin) RefusesMPTCP() string {
	if p.MPTCP || !p.Single() {
		return ""
	}
	return "MPTCP, which " + p.Name + " is not for: abort ends the whole connection"
}

// notAllowed says which opt-in a rung lacks.
func (b *Bound) notAllowed(what Permissions) string {
	if how := b.Saying(what); how != "" {
		return "which takes " + how
	}
	return "which " + b.Name + " is not for"
}
