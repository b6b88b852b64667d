package look

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"sockwarden/collectors"
	"sockwarden/engine/world"
)

// NamespaceError says in Report.Errors that we could not look into a network namespace
// that the user named: it does not exist, it has ended, or this process may not enter it.
// The report covers the others.
type NamespaceError struct {
	Name string
	Err  error // lists the existing namespaces if there is none of that name
}

// Error says why.
func (e *NamespaceError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *NamespaceError) Unwrap() error { return e.Err }

// ClosedError says in Report.Errors which network namespaces this process may not enter,
// of those that nobody named, and what it needs.
type ClosedError struct {
	Names []string
	Err   error // is world.ErrNoEntry
}

// Error names the first of them.
func (e *ClosedError) Error() string {
	const shown = 3
	switch n := len(e.Names); {
	case n == 1:
		return fmt.Sprintf("namespace %s: %v", e.Names[0], e.Err)
	case n > shown:
		return fmt.Sprintf("namespaces %s and %d more: %v", strings.Join(e.Names[:shown], ", "), n-shown, e.Err)
	}
	return fmt.Sprintf("namespaces %s: %v", strings.Join(e.Names, ", "), e.Err)
}

// Unwrap returns the reason.
func (e *ClosedError) Unwrap() error { return e.Err }

// findNamespaces resolves the namespaces that the rules cover, and counts the sockets of
// the others.
func (k *Looker) findNamespaces(ctx context.Context, c *Picture) error {
	wanted := slices.Clone(c.Plan.NetNS)
	if len(wanted) == 0 {
		wanted = []string{world.HostName}
	}
	if i := slices.Index(wanted, allNamespaces); i > 0 {
		wanted[0], wanted[i] = wanted[i], wanted[0]
	}
	for _, name := range wanted {
		found, err := k.world.Namespaces.Select(ctx, name)
		several := name == allNamespaces || world.IsPattern(name)
		byName := name != world.HostName && !several
		for _, ns := range found {
			c.LookInto(ns, name, byName)
		}
		if err != nil && byName {
			err = &NamespaceError{name, err}
		}
		switch {
		case err == nil:
		case errors.Is(err, fs.ErrNotExist) && name != world.HostName && name != allNamespaces:
			c.warn(err) // it has no sockets, and the others are still visible
		default:
			c.fail(err)
		}
	}
	// A watcher goes on without any namespace: it may appear later. Until then memory must
	// not keep its sockets as if they were there.
	if len(c.Namespaces) == 0 && (k.Horizon == 0 || c.Incomplete) {
		return errors.Join(c.Errors...)
	}
	if k.Horizon == 0 { // nobody sees the report of a watcher
		k.countOthers(c)
	}
	return nil
}

// allNamespaces is the name that stands for every namespace.
const allNamespaces = "all"

// LookInto adds a namespace to those that the cycle looks into. Meant is the word by which
// the user asked for it: rules that say the same are about it.
func (c *Picture) LookInto(one world.Namespace, meant string, byName bool) {
	i := slices.IndexFunc(c.Namespaces, func(n *Namespace) bool { return n.Inode == one.Inode })
	if i < 0 {
		i = len(c.Namespaces)
		c.Namespaces = append(c.Namespaces, &Namespace{Namespace: one})
	}
	ns := c.Namespaces[i]
	ns.byName = ns.byName || byName
	if meant != ns.Name {
		ns.Meant = append(ns.Meant, meant)
	}
}

// NotLookedInto notes that we could not look into a namespace. One that has ended took its
// sockets with it and leaves no gap in the picture; nobody misses it who did not ask for
// it by its name.
func (c *Picture) NotLookedInto(ns *Namespace, err error) {
	ended := hasEnded(&ns.Namespace, err)
	if ended && !ns.byName {
		return
	}
	if errors.Is(err, world.ErrNoEntry) && !ns.byName {
		c.notEntered(ns, err)
		return
	}
	refused := errors.Is(err, collectors.ErrNotPermitted)
	if ended {
		err = fmt.Errorf("namespace %s has ended: %w", ns.Name, err)
	} else {
		err = fmt.Errorf("namespace %s: %w", ns.Name, err)
	}
	if ns.byName && (ended || refused) {
		err = &NamespaceError{ns.Name, err}
	}
	if ended {
		c.warn(err)
	} else {
		c.fail(err)
	}
}

// hasEnded reports whether a look at a namespace failed because it is gone, and its sockets
// with it.
func hasEnded(ns *world.Namespace, err error) bool {
	return errors.Is(err, fs.ErrNotExist) && !ns.IsOwn()
}

// lacks notes that a later look into a namespace failed. If the namespace has ended since
// the first look, its sockets are gone, too, and nothing is missing.
func (c *Picture) lacks(ns *Namespace, err, said error) {
	if !hasEnded(&ns.Namespace, err) {
		c.fail(said)
	}
}

// notEntered notes that we cannot enter a namespace, in one error with the others of that
// kind.
func (c *Picture) notEntered(ns *Namespace, err error) {
	c.Incomplete = true
	for _, e := range c.Errors {
		if closed, ok := errors.AsType[*ClosedError](e); ok && closed.Err.Error() == err.Error() {
			closed.Names = append(closed.Names, ns.Name)
			return
		}
	}
	c.Errors = append(c.Errors, &ClosedError{[]string{ns.Name}, err})
}

// countOthers counts the sockets of namespaces that no rule covers, so that the report can
// say that it leaves them out.
func (k *Looker) countOthers(c *Picture) {
	all, err := k.world.Namespaces.All()
	if err != nil {
		return
	}
	for _, other := range all {
		if other.PID == 0 || slices.ContainsFunc(c.Namespaces, func(n *Namespace) bool { return n.Inode == other.Inode }) {
			continue
		}
		if n, err := k.world.Counter.CountBeside(&other); err == nil && n.TCP+n.UDP > 0 {
			c.Unseen += n.TCP + n.UDP
			c.UnseenNamespaces++
		}
	}
}

// nameInterfaces looks up the names of interfaces; without a name the field stays unknown.
func (d *dumps) nameInterfaces(ns *Namespace) {
	if ns.hasNames {
		return
	}
	ns.hasNames = true
	names, err := d.world.Network.Interfaces(&ns.Namespace)
	if err != nil {
		d.log.Debug("interfaces unknown", "netns", ns.Name, "error", err)
	}
	ns.Interfaces = names
}
