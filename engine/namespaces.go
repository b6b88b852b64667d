package engine

import (
	"errors"
	"slices"

	"sockwarden/engine/world"
)

// findNamespaces resolves which namespaces the rules are about, and counts the
// sockets of the others.
func (e *Engine) findNamespaces(c *cycle) error {
	wanted := c.wants().NetNS
	if len(wanted) == 0 {
		wanted = []string{world.HostName}
	}
	if slices.Contains(wanted, "all") {
		wanted = []string{"all"}
	}
	var missing []error
	for _, name := range wanted {
		found, err := e.world.Namespaces.Select(name)
		if err != nil {
			missing = append(missing, err)
			continue
		}
		for _, one := range found {
			if !slices.ContainsFunc(c.namespaces, func(n *namespace) bool { return n.Inode == one.Inode }) {
				c.namespaces = append(c.namespaces, &namespace{Namespace: one})
			}
		}
	}
	if len(c.namespaces) == 0 {
		return errors.Join(missing...)
	}
	// One that does not exist has no sockets: that keeps nobody from seeing the others.
	c.report.Errors = append(c.report.Errors, missing...)
	c.report.Namespaces = len(c.namespaces)
	if !e.watching { // whose report nobody sees
		e.countOthers(c)
	}
	return nil
}

// countOthers counts the sockets in namespaces that no rule is about, so that
// the report can say that they were not looked at.
func (e *Engine) countOthers(c *cycle) {
	all, err := e.world.Namespaces.All()
	if err != nil {
		return
	}
	for _, other := range all {
		if other.PID == 0 || slices.ContainsFunc(c.namespaces, func(n *namespace) bool { return n.Inode == other.Inode }) {
			continue
		}
		if n, err := e.world.Counter.CountBeside(&other); err == nil && n.TCP+n.UDP > 0 {
			c.report.Unseen += n.TCP + n.UDP
			c.report.UnseenNamespaces++
		}
	}
}

// nameInterfaces looks the names of interfaces up; one that is unknown leaves
// the field unknown.
func (e *Engine) nameInterfaces(ns *namespace) {
	if ns.hasNames {
		return
	}
	ns.hasNames = true
	names, err := e.world.Network.Interfaces(&ns.Namespace)
	if err != nil {
		e.log.Debug("interfaces unknown", "netns", ns.Name, "error", err)
	}
	ns.Interfaces = names
}
