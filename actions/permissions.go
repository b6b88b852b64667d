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
	// AllowListen allows listening sockets.
	AllowListen Permissions = 1 << iota
	// AllowUDP allows UDP sockets.
	AllowUDP
	// AllowProtected allows connections of processes whose names are protected.
	AllowProtected
	// AllowAllOwners allows acting on each of several processes that hold a socket.
	AllowAllOwners
)

// permissionNames are the words that ask for each permission, as in kill --allow-udp.
var permissionNames = []struct {
	of   Permissions
	name string
}{{AllowListen, "listen"}, {AllowUDP, "udp"}, {AllowProtected, "protected"}, {AllowAllOwners, "owners"}}

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
