package scripted

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"sockwarden/collectors"
	"sockwarden/engine/world"
)

// Namespace adds a network namespace of that name and returns its number, the NetNS of
// the sockets in it.
func (w *World) Namespace(name string) uint64 {
	inode := uint64(len(w.namespaces) + 1)
	closed := func() (*os.File, error) { return nil, errNoDoor }
	w.namespaces = append(w.namespaces, world.Namespace{Namespace: collectors.Namespace{Inode: inode, Name: name}, Open: closed})
	return inode
}

var (
	errNoNamespace = errors.New("the scripted world has no such namespace")
	errNoDoor      = errors.New("a scripted namespace is not to be opened")
)

type namespaces struct{ w *World }

func (n namespaces) Select(_ context.Context, name string) ([]world.Namespace, error) {
	if name == "all" {
		return n.All()
	}
	i := slices.IndexFunc(n.w.namespaces, func(ns world.Namespace) bool { return ns.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("%s: %w", name, errNoNamespace)
	}
	return n.w.namespaces[i : i+1], nil
}

func (n namespaces) All() ([]world.Namespace, error) { return slices.Clone(n.w.namespaces), nil }

func (n namespaces) Every() ([]world.Namespace, error) {
	all, _ := n.All()
	if n.w.Unlisted {
		return all, collectors.ErrNotPermitted
	}
	return all, nil
}

type counter struct{ w *World }

// Count counts TCP and UDP of each namespace.
func (c counter) Count(all []*world.Namespace) ([]world.Counts, []error) {
	counts := make([]world.Counts, len(all))
	for i, ns := range all {
		counts[i], _ = c.CountBeside(ns)
	}
	return counts, make([]error, len(all))
}

// CountBeside counts TCP and UDP of one namespace.
func (c counter) CountBeside(ns *world.Namespace) (counts world.Counts, err error) {
	for _, s := range c.w.sockets {
		switch {
		case s.NetNS != ns.Inode || s.bare:
		case s.Protocol == collectors.UDP:
			counts.UDP++
		case s.Protocol == collectors.TCP: // the kernel counts no MPTCP
			counts.TCP++
		}
	}
	return counts, nil
}

type network struct{ w *World }

// Addresses has those that sockets of the namespace have, but for what has left.
func (n network) Addresses(ns *world.Namespace) (world.Addresses, error) {
	return world.Addresses{Holds: func(a netip.Addr, _ uint32) bool {
		return !slices.Contains(n.w.Left, a) && slices.ContainsFunc(n.w.sockets, func(s *Socket) bool {
			return s.NetNS == ns.Inode && !s.bare && s.Local.Netip() == a
		})
	}}, nil
}

func (network) Interfaces(*world.Namespace) (map[uint32]string, error) {
	return map[uint32]string{1: "lo", 2: "eth0"}, nil
}

func (network) Initial(*world.Namespace) bool { return false }

func (network) Ports(*world.Namespace) (world.Ports, error) {
	return world.Ports{Low: 32768, High: 60999}, nil // the kernel's default (net/ipv4/af_inet.c)
}
