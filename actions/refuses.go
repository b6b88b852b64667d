package actions

import (
	"fmt"

	"sockwarden/collectors"
)

// Refuses says why a rung is never applied to sockets of such a kind, whatever the host
// has, "" if it may be. Of the socket it asks for the protocol, the state, and whether
// anybody has it.
func (b *Bound) Refuses(s *collectors.Socket) string {
	switch {
	case b.Harmless, b.WithoutSocket:
		return ""
	case s.Protocol == collectors.UDP && !b.Allowed.Has(AllowUDP):
		return "it is about UDP, " + b.notAllowed(AllowUDP)
	case s.Protocol == collectors.TCP && s.State == collectors.Listen && !b.Allowed.Has(AllowListen):
		return "it is about listeners, " + b.notAllowed(AllowListen)
	case b.NeedsOwner() && s.Inode == 0:
		return "no process has such sockets, and " + b.Name + " is for the process"
	case !b.OnProcess() && s.Protocol == collectors.TCP && s.State == collectors.Close:
		return "these are bound, not connected: the kernel cannot destroy them"
	}
	return ""
}

// notAllowed says what a rung does not say that it had to.
func (b *Bound) notAllowed(what Permissions) string {
	if how := b.OptIn(what); how != "" {
		return fmt.Sprintf("which takes {%s: {%s}}", b.Name, how)
	}
	return "which " + b.Name + " is not for"
}
