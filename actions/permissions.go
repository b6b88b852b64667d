package actions

import (
	"fmt"
	"strings"
)

// Permissions are what a rung can request, by parameters of its action, beyond what every
// rung may do. Guards check them. Nothing outside of the actions knows the names of the
// parameters.
type Permissions uint8

// The permissions.
const (
	// AllowListen allows listening sockets, which the action itself changes.
	AllowListen Permissions = 1 << iota
	// AllowUDP allows UDP sockets.
	AllowUDP
	// AllowProtected allows connections of processes whose names are protected.
	AllowProtected
	// AllowAllOwners allows acting on each of several processes that hold a socket.
	AllowAllOwners
	// AllowListener allows the process of a listener: because of the listener itself, or
	// of connections that wait for it to accept them.
	AllowListener
)

// permissionNames are the words that ask for each permission, as in kill --allow-udp.
var permissionNames = []struct {
	of   Permissions
	name string
}{{AllowListen, "listen"}, {AllowUDP, "udp"}, {AllowProtected, "protected"}, {AllowAllOwners, "owners"}, {AllowListener, "listener"}}

// String names the permissions, separated by commas.
func (p Permissions) String() string {
	var all []string
	for _, n := range permissionNames {
		if p.Has(n.of) {
			all = append(all, n.name)
		}
	}
	return strings.Join(all, ",")
}

// Has reports whether p includes all of the others.
func (p Permissions) Has(others Permissions) bool { return p&others == others }

// ProtectedParam is the parameter that opts in to AllowProtected. Only actions on a
// single connection may have it.
func ProtectedParam() Param {
	return Param{
		Name: "protected", Type: "bool", Allows: AllowProtected,
		Doc: "also connections of protected processes (sshd, docker-proxy, container runtimes), but never your own session's",
	}
}

// ListenerParam is the parameter that opts in to AllowListener. It is for actions that do
// more than end or change one connection.
func ListenerParam() Param {
	return Param{
		Name: "listener", Type: "bool", Allows: AllowListener,
		Doc: "also because of a listener, or of connections that wait to be accepted: for the process that listens",
	}
}

// allowing returns the value by which the parameter opts in.
func (p *Param) allowing() any {
	if p.AllowsBy != "" {
		return p.AllowsBy
	}
	return true
}

// Allows returns what a rung with these parameters opts in to.
func (p *Plugin) Allows(params map[string]any) Permissions {
	var all Permissions
	for i := range p.Params {
		if q := &p.Params[i]; q.Allows != 0 && params[q.Name] == q.allowing() {
			all |= q.Allows
		}
	}
	return all
}

// OptIn says how a rung opts in to a permission, such as "udp: true"; "" if the action
// has no parameter for it.
func (p *Plugin) OptIn(what Permissions) string {
	if q := p.param(what); q != nil {
		return fmt.Sprintf("%s: %v", q.Name, q.allowing())
	}
	return ""
}

// Saying is a rung as it is written with the opt-in to a permission, "" if the action cannot
// be told so. What acts for a listener has Main in it, which signal and exec cannot do
// without: {signal: TERM, listener: true}.
func (b *Bound) Saying(what Permissions) string {
	how := b.OptIn(what)
	switch main := b.Params[b.Main]; {
	case how == "":
		return ""
	case what == AllowListener && main != nil:
		return fmt.Sprintf("{%s: %v, %s}", b.Name, main, how)
	}
	return fmt.Sprintf("{%s: {%s}}", b.Name, how)
}

// ForListen is what a rung must opt in to for sockets that listen: AllowListener if that is
// what the action has.
func (p *Plugin) ForListen() Permissions {
	if p.param(AllowListener) != nil && p.param(AllowListen) == nil {
		return AllowListener
	}
	return AllowListen
}

// ForUnaccepted is what a rung must opt in to for connections that wait to be accepted,
// which no process has yet: none if the action is for the connection itself.
func (p *Plugin) ForUnaccepted() Permissions {
	if p.OnProcess() || p.param(AllowListener) != nil {
		return AllowListener
	}
	return 0
}

// Asking returns the action's parameters that opt in to the permissions, where it has
// them.
func (p *Plugin) Asking(what Permissions) map[string]any {
	params := map[string]any{}
	for i := range p.Params {
		if q := &p.Params[i]; q.Allows != 0 && what.Has(q.Allows) {
			params[q.Name] = q.allowing()
		}
	}
	return params
}

func (p *Plugin) param(what Permissions) *Param {
	for i := range p.Params {
		if p.Params[i].Allows == what && what != 0 {
			return &p.Params[i]
		}
	}
	return nil
}

// Never says why this action lacks opt-ins that other actions have, by parameter name.
func (r *Registry) Never(p *Plugin) map[string]string {
	if p.param(AllowProtected) != nil {
		return nil
	}
	name, why := "", "it changes nothing, and guards are not for it"
	var have []string
	for i := range r.plugins {
		if q := r.plugins[i].param(AllowProtected); q != nil {
			name, have = q.Name, append(have, r.plugins[i].Name)
		}
	}
	switch {
	case name == "":
		return nil
	case p.Harmless:
	case p.Gentle:
		why = "it takes nothing from a connection that lives, and is done for those of protected processes, too"
	default:
		why = "only what acts on one connection can be let at those of protected processes: " + List(have)
	}
	return map[string]string{name: why}
}

// List joins names for people: a, b and c.
func List(names []string) string {
	last := len(names) - 1
	if last < 1 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:last], ", ") + " and " + names[last]
}
