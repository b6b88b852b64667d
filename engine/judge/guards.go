package judge

import (
	"fmt"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/catalog"
	"sockwarden/engine/look"
	"sockwarden/rules"
)

// guard returns why no rule may act on the candidate by this rung, "" if it may.
// Nothing in a rules file can switch a guard off, except where it names the
// opt-in of the rung.
func (g *guards) guard(c *look.Candidate, rung *rules.Rung) string {
	s := &c.Socket
	plugin := catalog.Bound(rung)
	switch {
	case plugin.Harmless:
		return ""
	case s.Cookie == 0:
		return "no cookie that the kernel confirms: nothing tells it from another socket"
	case c.Blind:
		return "the kernel waits for its lock, which a process keeps: its tcp_info cannot be read"
	case s.Protocol == collectors.UDP && !plugin.Allowed.Has(actions.AllowUDP):
		return "UDP socket: needs " + g.optIn(plugin, actions.AllowUDP)
	case s.State == collectors.Listen && !plugin.Allowed.Has(plugin.ForListen()):
		return "listener: needs " + g.optIn(plugin, plugin.ForListen())
	case s.Protocol == collectors.MPTCP && plugin.RefusesMPTCP() != "":
		return plugin.RefusesMPTCP()
	case g.world.Self.IsSession(s):
		return "your own session"
	}
	if why := g.guardOwners(c, plugin); why != "" {
		return why
	}
	if why := c.HiddenOwners(); why != "" && !g.allowUnknown {
		return why
	}
	if plugin.NeedsOwner() && g.world.Owners.Coverage().Foreign {
		return "/proc shows another PID namespace, with other numbers: mount that of this one (as unshare --mount-proc does)"
	}
	if plugin.NeedsOwner() {
		for _, o := range c.Processes(plugin) {
			if o.Told {
				return fmt.Sprintf("%s[%d] cannot be examined: that it still has the socket could not be proven before %s", o.Name, o.PID, plugin.Name)
			}
		}
	}
	if why := g.guardWaiting(c, plugin); why != "" {
		return why
	}
	if plugin.OnProcess() {
		if why := guardProcess(c, plugin); why != "" {
			return why
		}
		return g.guardUnits(c, plugin)
	}
	if plugin.OnOwner() && len(c.Facts.Owners) == 0 {
		return "no process has it"
	}
	return g.quirk(s)
}

// optIn says how a rung can ask for a permission.
func (g *guards) optIn(plugin *actions.Bound, what actions.Permissions) string {
	if g.optInText != nil {
		return g.optInText(what)
	}
	if how := plugin.Saying(what); how != "" {
		return how
	}
	return "an action that can be told so; " + plugin.Name + " cannot"
}

// guardUnits is for actions on a whole unit or container: nothing in it may be guarded.
func (g *guards) guardUnits(c *look.Candidate, plugin *actions.Bound) string {
	if !plugin.OnUnit() {
		return ""
	}
	owners := c.Processes(plugin)
	for i := range owners {
		o := &owners[i]
		whole := look.WholeOf(o)
		if whole == "" {
			continue // the action reports it
		}
		key := whole + " " + look.TargetKey(o, plugin.Plugin)
		why := g.wholes.of(key, g.world.Mono, func() string { return g.guardWhole(o, whole) })
		if why != "" {
			return why
		}
	}
	return ""
}

// guardWhole returns why nothing may end with the unit or container of a process.
func (g *guards) guardWhole(o *collectors.Owner, whole string) string {
	members, err := g.world.Processes.Together(o)
	if err != nil || g.world.Owners.Coverage().HidePID != "" {
		return "the processes of " + whole + " cannot all be listed"
	}
	for k := range members {
		if why := g.kept.GuardOwner(&members[k]); why != "" {
			return fmt.Sprintf("%s has also %s[%d]: %s", whole, members[k].Name, members[k].PID, why)
		}
	}
	return ""
}

func (g *guards) guardOwners(c *look.Candidate, plugin *actions.Bound) string {
	for i := range c.Facts.Owners {
		if why := g.guardHolder(&c.Socket, &c.Facts.Owners[i], plugin); why != "" {
			return why
		}
	}
	if !look.Waits(&c.Socket) {
		return ""
	}
	if l := c.Facts.ListenerOwner; l != nil {
		if why := g.guardHolder(&c.Socket, l, plugin); why != "" {
			return look.WaitsFor(&c.Socket) + why
		}
	}
	return ""
}

// guardWaiting is for actions that are not for the connection itself, where it waits to be
// accepted: they are for the process of its listener, which must be certain.
func (g *guards) guardWaiting(c *look.Candidate, plugin *actions.Bound) string {
	switch need := plugin.ForUnaccepted(); {
	case !collectors.Unaccepted(&c.Socket), need == 0:
		return ""
	case !plugin.Allowed.Has(need):
		why := "waits to be accepted: no process has it yet"
		if how := plugin.Saying(need); how != "" {
			why += ", for that of its listener write " + how
		}
		return why
	case len(c.Listeners) == 0:
		return "waits to be accepted: no listener has anything in its queue any more"
	case !c.WhoseQueue(plugin):
		return fmt.Sprintf("waits to be accepted: it can be in the queue of %d listeners of several processes: "+
			`a rule about the listener can tell, state == "LISTEN" and recv_queue > send_queue`, len(c.Listeners))
	}
	return ""
}

// guardProcess is for actions on the process of a socket. All processes of a unit are one
// target for an action on units.
func guardProcess(c *look.Candidate, plugin *actions.Bound) string {
	switch n := len(c.Processes(plugin)); {
	case n == 0:
		return "no process has it"
	case len(c.Targets(plugin)) > 1 && !plugin.Allowed.Has(actions.AllowAllOwners):
		if how := plugin.OptIn(actions.AllowAllOwners); how != "" {
			return fmt.Sprintf("%d processes hold it, and the rung does not say %s", n, how)
		}
		return fmt.Sprintf("%d processes hold it, and %s is for one", n, plugin.Name)
	}
	return ""
}

// quirk returns why destroying the socket would fail or do harm on this kernel.
func (g *guards) quirk(s *collectors.Socket) string {
	switch {
	case s.Subflow:
		return `MPTCP subflow: the program would not notice; abort can end the whole connection, protocol == "mptcp"`
	case s.Protocol.Connects() && s.State == collectors.Close:
		return "bound, not connected: the kernel cannot destroy it"
	case s.State == collectors.FinWait1 && collectors.Orphaned(s) && g.world.Host.Kernel.Before(6, 11):
		return "FIN_WAIT1 orphan: before Linux 6.11 destroying it makes it permanent"
	case s.State == collectors.TimeWait && g.world.Host.Kernel.Before(6, 0):
		return "TIME_WAIT: Linux before 6.0 cannot destroy it"
	}
	return ""
}

// guardHolder returns why a rung must leave a socket alone because of a process that has it
// or listens for it. An action on a single connection can ask for those of protected
// processes, and need not ask if it takes nothing from a living process.
func (g *guards) guardHolder(s *collectors.Socket, o *collectors.Owner, plugin *actions.Bound) string {
	why := g.kept.GuardOwner(o)
	switch asked := plugin.Allowed.Has(actions.AllowProtected); {
	case why == "", g.kept.Untouchable(o) != "", !plugin.Single():
		return why
	case plugin.Gentle:
		return ""
	case look.IsSystem(o), s.State == collectors.Listen, s.State == collectors.Close: // no connection
		return why
	case asked:
		return ""
	}
	return why + ": needs " + g.optIn(plugin, actions.AllowProtected)
}
