package engine

import (
	"fmt"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/rules"
)

// guard returns why no rule may act on the candidate by this rung, "" if it may.
// Nothing in a rules file can switch a guard off, except where it names the
// opt-in of the rung.
func (e *Engine) guard(c *Candidate, rung *rules.Rung) string {
	s := &c.Socket
	plugin, err := e.opts.Actions.Get(rung.Action)
	if err != nil {
		return err.Error()
	}
	allows := plugin.Allows(rung.Params)
	switch {
	case plugin.Harmless:
		return ""
	case s.Cookie == 0:
		return "no cookie that the kernel confirms: it cannot be told from another socket"
	case c.blind:
		return "the kernel waits for its lock, which a process keeps: its tcp_info cannot be read"
	case s.Protocol == collectors.UDP && !allows.Has(actions.AllowUDP):
		return "UDP socket: needs " + e.optIn(&plugin, actions.AllowUDP)
	case s.State == collectors.Listen && !allows.Has(actions.AllowListen):
		return "listener: needs " + e.optIn(&plugin, actions.AllowListen)
	case e.world.Self.IsSession(s):
		return "your own session"
	}
	if why := e.guardOwners(c, rung, &plugin); why != "" {
		return why
	}
	if why := c.hiddenOwners(); why != "" && !e.opts.AllowUnknownOwner {
		return why
	}
	if plugin.NeedsOwner() && e.world.Owners.Coverage().Foreign {
		return "/proc has the processes of another PID namespace, with other numbers: mount the one of this (as unshare --mount-proc does)"
	}
	if plugin.NeedsOwner() {
		for i := range c.Facts.Owners {
			if o := &c.Facts.Owners[i]; o.Told {
				return fmt.Sprintf("%s[%d] cannot be examined: that it still has the socket could not be proven before %s", o.Name, o.PID, rung.Action)
			}
		}
	}
	if plugin.OnProcess() {
		if why := guardProcess(c, rung, &plugin); why != "" {
			return why
		}
		return e.guardUnits(c, &plugin)
	}
	if plugin.OnOwner() && len(c.Facts.Owners) == 0 {
		return "no process has it"
	}
	return e.quirk(s)
}

// optIn says how a rung asks for a permission.
func (e *Engine) optIn(plugin *actions.Plugin, what actions.Permissions) string {
	if e.opts.OptIn != nil {
		return e.opts.OptIn(what)
	}
	if how := plugin.OptIn(what); how != "" {
		return fmt.Sprintf("{%s: {%s}}", plugin.Name, how)
	}
	return "an action that can be told so; " + plugin.Name + " cannot"
}

// guardUnits is for actions on a whole unit: nothing in it may be guarded.
func (e *Engine) guardUnits(c *Candidate, plugin *actions.Plugin) string {
	if !plugin.OnUnit() {
		return ""
	}
	for i := range c.Facts.Owners {
		o := &c.Facts.Owners[i]
		if o.Unit == "" {
			continue // the action says it
		}
		members, err := e.world.Processes.Unit(o)
		if err != nil || e.world.Owners.Coverage().HidePID != "" {
			return "the processes of " + o.Unit + " cannot all be listed"
		}
		for k := range members {
			if why := e.guardOwner(&members[k]); why != "" {
				return fmt.Sprintf("%s has also %s[%d]: %s", o.Unit, members[k].Name, members[k].PID, why)
			}
		}
	}
	return ""
}

func (e *Engine) guardOwners(c *Candidate, rung *rules.Rung, plugin *actions.Plugin) string {
	for i := range c.Facts.Owners {
		if why := e.guardHolder(&c.Socket, &c.Facts.Owners[i], rung, plugin); why != "" {
			return why
		}
	}
	if !waits(&c.Socket) {
		return ""
	}
	if l := c.Facts.ListenerOwner; l != nil {
		if why := e.guardHolder(&c.Socket, l, rung, plugin); why != "" {
			return waitsFor(&c.Socket) + why
		}
	}
	return ""
}

// untouchable returns why nothing may ever be done to a process and what it has.
func (e *Engine) untouchable(o *collectors.Owner) string {
	switch {
	case o.PID == e.world.Self.PID:
		return "sockwarden's own"
	case o.PID == 1 && (e.world.Owners.Coverage().HostInit || isInit(o)):
		return "held by PID 1"
	case e.world.Self.Ancestors[o.PID], e.world.Self.IsLogin(o):
		return "your own session"
	case o.Kernel:
		return "held by the kernel"
	}
	return ""
}

// guardProcess is for actions on the process of a socket.
func guardProcess(c *Candidate, rung *rules.Rung, plugin *actions.Plugin) string {
	switch {
	case collectors.Unaccepted(&c.Socket):
		return "waits to be accepted: no process has it yet"
	case len(c.Facts.Owners) == 0:
		return "no process has it"
	case len(c.Facts.Owners) > 1 && !plugin.Allows(rung.Params).Has(actions.AllowAllOwners):
		if how := plugin.OptIn(actions.AllowAllOwners); how != "" {
			return fmt.Sprintf("%d processes hold it, and the rung does not say %s", len(c.Facts.Owners), how)
		}
		return fmt.Sprintf("%d processes hold it, and %s is for one", len(c.Facts.Owners), plugin.Name)
	}
	return ""
}

// quirk returns why this kernel would do harm or nothing if told to destroy the
// socket.
func (e *Engine) quirk(s *collectors.Socket) string {
	switch {
	case s.Subflow:
		return "MPTCP subflow: the program would not notice"
	case s.Protocol == collectors.TCP && s.State == collectors.Close:
		return "bound, not connected: the kernel cannot destroy it"
	case s.State == collectors.FinWait1 && collectors.Orphaned(s) && e.world.Host.Kernel.Before(6, 11):
		return "FIN_WAIT1 orphan: before Linux 6.11 destroying it makes it permanent"
	case s.State == collectors.TimeWait && e.world.Host.Kernel.Before(6, 0):
		return "TIME_WAIT: Linux before 6.0 cannot destroy it"
	}
	return ""
}
