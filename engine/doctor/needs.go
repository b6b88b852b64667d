package doctor

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"

	"sockwarden/actions"
	"sockwarden/collectors/host"
	"sockwarden/rules"
)

// selfTested is the feature that the self-test proves.
var selfTested = actions.SockDestroy

const selfTestName = "self-test"

// use is a capability and what in sockwarden needs it.
type use struct {
	actions.Capability
	level Level    // if it is missing
	look  string   // what looks use it for, "" for nothing
	by    []string // what actions use it for
}

// String says what needs it.
func (u *use) String() string {
	by := strings.Join(u.by, ", ")
	if u.look != "" && by != "" {
		return u.look + "; " + by
	}
	return u.look + by
}

// looking returns what looks need, whatever the actions.
func looking() []use {
	return []use{
		{actions.CapSysPtrace, Fail, "owners of sockets", nil},
		{actions.CapDACReadSearch, Fail, "descriptors of other users' processes", nil},
		{actions.CapSysAdmin, Warn, "other network namespaces, containers", nil},
	}
}

// uses are the capabilities that actions and looks need. A live run fails without those
// of looks, and without those that an action of its rules always needs.
func uses(plan *Plan) []use {
	var all []use
	at := func(c actions.Capability) *use {
		i := slices.IndexFunc(all, func(u use) bool { return u.Capability == c })
		if i < 0 {
			i, all = len(all), append(all, use{Capability: c, level: Warn})
		}
		return &all[i]
	}
	acting := acting(plan)
	for _, p := range plan.Actions.All() {
		for _, n := range p.Needs {
			if n.Capability.Name == "" || n.Elsewhere { // sockets elsewhere must be visible in the first place
				continue
			}
			u := at(n.Capability)
			u.by = append(u.by, cmp.Or(n.Use, p.Name))
			if n.For == "" && acting(p.Name) {
				u.level = Fail
			}
		}
	}
	for _, l := range looking() {
		u := at(l.Capability)
		u.look = l.look
		if l.level == Fail {
			u.level = Fail
		}
	}
	return all
}

// acting returns which actions a live run of the rules could use: any if there are no
// rules.
func acting(plan *Plan) func(name string) bool {
	names := map[string]bool{}
	if plan.Program == nil {
		return func(string) bool { return true }
	}
	for _, r := range plan.Program.Rules {
		for i := range r.Then {
			names[r.Then[i].Action] = names[r.Then[i].Action] || r.Mode == rules.ModeEnforce
		}
	}
	return func(name string) bool { return names[name] }
}

func capabilities(plan *Plan) []Check {
	has, err := host.Effective()
	if err != nil {
		return []Check{{Name: "capabilities", Level: Fail, Detail: err.Error()}}
	}
	var checks []Check
	for _, u := range uses(plan) {
		c := Check{Name: u.Name, Level: OK, Detail: "for " + u.String()}
		if !has.Has(u.Number) {
			c.Level, c.Detail, c.Cure = u.level, "missing, needed for "+u.String(), "run as root, or with AmbientCapabilities="
			if os.Geteuid() == 0 {
				c.Cure = "give it to the unit (CapabilityBoundingSet=) or the container (--cap-add)"
			}
		}
		checks = append(checks, c)
	}
	return checks
}

func kernelVersion(registry *actions.Registry) Check {
	k, err := host.RunningKernel()
	if err != nil {
		return Check{Name: "kernel", Level: Warn, Detail: err.Error()}
	}
	return kernelRelease(k, registry)
}

func kernelRelease(k host.Kernel, registry *actions.Registry) Check {
	c := Check{Name: "kernel", Level: OK, Detail: "Linux " + k.Release}
	missing := missingFeatures(k, registry)
	switch {
	case k.Unread():
	case k.Before(4, 9):
		c.Level, c.Cure = Fail, "SOCK_DESTROY needs Linux 4.9 or later"
	case missing != "":
		c.Level, c.Detail = Warn, c.Detail+": "+missing
	case k.Before(6, 11):
		c.Level, c.Detail = Warn, c.Detail+": FIN_WAIT1 orphans are spared before 6.11"
	}
	return c
}

// missingFeatures says which features the kernel is too old for, and which actions are
// therefore missing.
func missingFeatures(k host.Kernel, registry *actions.Registry) string {
	var features []actions.Feature
	without := map[actions.Feature][]string{}
	for _, p := range registry.All() {
		for _, n := range p.Needs {
			if f := n.Feature; f.Name != "" && k.Before(f.Major, f.Minor) {
				if without[f] == nil {
					features = append(features, f)
				}
				without[f] = append(without[f], p.Name)
			}
		}
	}
	parts := make([]string, len(features))
	for i, f := range features {
		parts[i] = fmt.Sprintf("no %s (%d.%d), so no %s", f.Name, f.Major, f.Minor, actions.List(without[f]))
	}
	return strings.Join(parts, "; ")
}

// lacking names the failed checks that a rung needs, and the kernel if it is too old.
func lacking(b *actions.Bound, failed map[string]bool, k host.Kernel) (names []string) {
	for _, n := range b.Needed {
		name := n.Capability.Name
		switch f := n.Feature; {
		case n.Elsewhere:
			continue // those are invisible anyway
		case f == selfTested:
			name = selfTestName
		case f.Name != "" && !k.Unread() && k.Before(f.Major, f.Minor):
			names = append(names, f.String())
		}
		if failed[name] {
			names = append(names, name)
		}
	}
	return names
}
