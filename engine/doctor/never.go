package doctor

import (
	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/catalog"
	"sockwarden/rules"
)

// neverActs says why a rule can never act on a socket, whatever the host has, ""
// if it may. Guards that can be opted out of are the usual reason.
func neverActs(r *rules.Rule) string {
	if r.Mode != rules.ModeEnforce || r.When == nil {
		return ""
	}
	why := ""
	for _, s := range possible(r) {
		for i := range r.Then {
			plugin := catalog.Bound(&r.Then[i])
			if plugin.Harmless || plugin.WithoutSocket {
				return ""
			}
			reason := spares(s, plugin)
			if reason == "" {
				return ""
			}
			why = reason
		}
	}
	return why
}

// possible returns a socket of each kind that the condition of a rule may be true of.
func possible(r *rules.Rule) (kinds []*collectors.Socket) {
	protocols := []collectors.Protocol{collectors.TCP}
	if r.When.Reads.Has(collectors.FieldProtocol) {
		protocols = append(protocols, collectors.UDP)
	}
	for _, protocol := range protocols {
		for state := collectors.Established; state <= collectors.Closing; state++ {
			for inode := range uint32(2) {
				s := &collectors.Socket{
					Protocol: protocol, State: state, Inode: inode,
					Known: collectors.Fields(collectors.FieldProtocol, collectors.FieldState, collectors.FieldOwned, collectors.FieldOrphan, collectors.FieldUnaccepted),
				}
				if inode != 0 && (state == collectors.TimeWait || state == collectors.SynRecv) {
					continue // nobody has these
				}
				record := collectors.NewRecord(s, nil, nil, nil, "")
				if r.When.Eval(&record) != rules.False {
					kinds = append(kinds, s)
				}
			}
		}
	}
	return kinds
}

// spares says why a rung is never applied to sockets of a kind, "" if it may be.
func spares(s *collectors.Socket, plugin *actions.Bound) string {
	switch {
	case s.Protocol == collectors.UDP && !plugin.Allowed.Has(actions.AllowUDP):
		return "it is about UDP, " + notAllowed(plugin, actions.AllowUDP)
	case s.Protocol == collectors.TCP && s.State == collectors.Listen && !plugin.Allowed.Has(actions.AllowListen):
		return "it is about listeners, " + notAllowed(plugin, actions.AllowListen)
	case plugin.NeedsOwner() && s.Inode == 0:
		return "no process has such sockets, and " + plugin.Name + " is for the process"
	case s.Protocol == collectors.TCP && s.State == collectors.Close:
		return "these are bound, not connected: the kernel cannot destroy them"
	}
	return ""
}

// notAllowed says what a rung does not say that it had to.
func notAllowed(plugin *actions.Bound, what actions.Permissions) string {
	if how := plugin.OptIn(what); how != "" {
		return "and " + plugin.Name + " does not say " + how
	}
	return "which " + plugin.Name + " is not for"
}
