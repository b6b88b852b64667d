package engine

import (
	"errors"
	"net"
	"slices"

	"sockwarden/collectors"
	"sockwarden/collectors/netns"
	"sockwarden/collectors/procfs"
)

// findNamespaces resolves which namespaces the rules are about, and counts the
// sockets of the others.
func (e *Engine) findNamespaces(c *cycle) error {
	wanted := c.wants().NetNS
	if len(wanted) == 0 {
		wanted = []string{netns.HostName}
	}
	if slices.Contains(wanted, "all") {
		wanted = []string{"all"}
	}
	var missing []error
	for _, name := range wanted {
		handles, err := netns.Select(name)
		if err != nil {
			missing = append(missing, err)
			continue
		}
		for _, h := range handles {
			if slices.ContainsFunc(c.namespaces, func(n *namespace) bool { return n.Inode == h.Inode }) {
				continue
			}
			ns := &namespace{Namespace: collectors.Namespace{Inode: h.Inode, Name: h.Name, Interfaces: map[uint32]string{}}}
			if h.Name != netns.HostName {
				ns.open = h.Open
			}
			c.namespaces = append(c.namespaces, ns)
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
	all, err := netns.List()
	if err != nil {
		return
	}
	for _, h := range all {
		if slices.ContainsFunc(c.namespaces, func(n *namespace) bool { return n.Inode == h.Inode }) {
			continue
		}
		if h.PID == 0 {
			continue
		}
		if n, err := e.proc.SockstatOf(h.PID); err == nil && n.TCP+n.UDP > 0 {
			c.report.Unseen += n.TCP + n.UDP
			c.report.UnseenNamespaces++
		}
	}
}

func openNS(ns *namespace) (fd int, closeNS func(), err error) {
	if ns.open == nil {
		return -1, func() {}, nil
	}
	f, err := ns.open()
	if err != nil {
		return -1, nil, err
	}
	return int(f.Fd()), func() { _ = f.Close() }, nil
}

// inside runs f in the namespace.
func inside(ns *namespace, f func() error) error {
	if ns.open == nil {
		return f()
	}
	file, err := ns.open()
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	return netns.Do(file, f)
}

func countSockets(ns *namespace) (counts procfs.Counts, err error) {
	err = inside(ns, func() (err error) {
		counts, err = procfs.New("").Sockstat()
		return err
	})
	return counts, err
}

// nameInterfaces looks the names of interfaces up; one that is unknown leaves
// the field unknown.
func (e *Engine) nameInterfaces(ns *namespace) {
	if ns.hasNames {
		return
	}
	ns.hasNames = true
	err := inside(ns, func() error {
		all, err := net.Interfaces()
		for _, i := range all {
			ns.Interfaces[uint32(i.Index)] = i.Name
		}
		return err //nolint:wrapcheck // only logged
	})
	if err != nil {
		e.log.Debug("interfaces unknown", "netns", ns.Name, "error", err)
	}
}
