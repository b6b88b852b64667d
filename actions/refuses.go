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
	case s.Protocol == collectors.TCP && s.State == collectors.Listen && !b.Allowed.Has(b.ForListen()):
		return "it is about listeners, " + b.notAllowed(b.ForListen())
	case collectors.Unaccepted(s) && !b.Allowed.Has(b.ForUnaccepted()) && b.OptIn(AllowListener) != "":
		return "it is about connections that wait to be accepted, " + b.notAllowed(AllowListener)
	case collectors.Unaccepted(s) && b.Allowed.Has(AllowListener):
		return ""
	case b.NeedsOwner() && s.Inode == 0:
		return "no process has such sockets, and " + b.Name + " is for the process"
	case !b.OnProcess() && s.Protocol == collectors.TCP && s.State == collectors.Close:
		return "these are bound, not connected: the kernel cannot destroy them"
	}
	return ""
}

// notAllowed says which opt-in a rung lacks.
func (b *Bound) notAllowed(what Permissions) string {
	if how := b.Saying(what); how != "" {
		return "which takes " + how
	}
	return "which " + b.Name + " is not for"
}
