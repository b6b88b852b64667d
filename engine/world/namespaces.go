package world

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"sockwarden/collectors"
	"sockwarden/collectors/netns"
	"sockwarden/collectors/procfs"
)

// HostName is the name of the namespace that this process runs in.
const HostName = netns.HostName

// kernelNamespaces are the network namespaces of the kernel.
type kernelNamespaces struct {
	engines engines
	// cover says which processes cannot be seen, and so which namespaces.
	cover func() Coverage
}

// hides reports whether processes are not to be seen at all, in namespaces of their own.
func (k kernelNamespaces) hides() bool {
	cover := k.cover()
	return cover.HidePID != "" || cover.Inside
}

// Select looks for containers of that name if no namespace has it.
func (k kernelNamespaces) Select(ctx context.Context, name string) ([]Namespace, error) {
	handles, err := netns.Select(name)
	if missing, ok := errors.AsType[*netns.MissingError](err); ok && missing.Name == name {
		return k.engines.namespace(ctx, missing)
	}
	return namespacesOf(handles), err
}

func (kernelNamespaces) All() ([]Namespace, error) {
	handles, err := netns.List()
	return namespacesOf(handles), err
}

func (k kernelNamespaces) Every() ([]Namespace, error) {
	handles, err := netns.Every()
	if err == nil && k.hides() {
		err = fmt.Errorf("processes of this host cannot all be seen: %w", collectors.ErrNotPermitted)
	}
	return namespacesOf(handles), err
}

func namespacesOf(handles []netns.Handle) []Namespace {
	all := make([]Namespace, len(handles))
	for i, h := range handles {
		all[i] = Namespace{Namespace: collectors.Namespace{Inode: h.Inode, Name: h.Name}, PID: h.PID}
		if h.Name != netns.HostName {
			all[i].Open = h.Open
		}
	}
	return all
}

// open returns a descriptor of the namespace, -1 for our own.
func (ns *Namespace) open() (fd int, closeNS func(), err error) {
	if ns.Open == nil {
		return -1, func() {}, nil
	}
	f, err := ns.Open()
	if err != nil {
		return -1, nil, err
	}
	return int(f.Fd()), func() { _ = f.Close() }, nil
}

// inside runs f in the namespace.
func (ns *Namespace) inside(f func() error) error {
	if ns.Open == nil {
		return f()
	}
	file, err := ns.Open()
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	return netns.Do(file, f)
}

// kernelNetwork looks from inside a namespace.
type kernelNetwork struct{ proc procfs.Network }

func (k kernelNetwork) CountBeside(ns *Namespace) (Counts, error) { return k.proc.SockstatOf(ns.PID) }

func (k kernelNetwork) Count(ns *Namespace) (counts Counts, err error) {
	err = ns.inside(func() (err error) {
		counts, err = k.proc.Sockstat()
		return err
	})
	return counts, err
}

func (kernelNetwork) Interfaces(ns *Namespace) (map[uint32]string, error) {
	names := map[uint32]string{}
	err := ns.inside(func() error {
		all, err := net.Interfaces()
		for _, i := range all {
			names[uint32(i.Index)] = i.Name
		}
		return err //nolint:wrapcheck // only logged
	})
	return names, err
}

func (kernelNetwork) Addresses(ns *Namespace) (all []collectors.Addr, err error) {
	err = ns.inside(func() error {
		found, err := net.InterfaceAddrs()
		for _, a := range found {
			if prefix, ok := a.(*net.IPNet); ok {
				if ip, ok := netip.AddrFromSlice(prefix.IP); ok {
					all = append(all, collectors.AddrFrom(ip))
				}
			}
		}
		return err //nolint:wrapcheck // only whether there is one counts
	})
	return all, err
}

func (k kernelNetwork) Initial(ns *Namespace) bool {
	initial := true
	err := ns.inside(func() error {
		initial = k.proc.InitialNetwork()
		return nil
	})
	return err != nil || initial
}

func (k kernelNetwork) Ports(ns *Namespace) (p Ports, err error) {
	err = ns.inside(func() (err error) {
		p.AcceptsVRF = k.proc.AcceptsVRF()
		p.Low, p.High, err = k.proc.EphemeralPorts()
		return err
	})
	return p, err
}

// IsOwn reports whether it is this process's own namespace.
func (ns *Namespace) IsOwn() bool { return ns.Open == nil }
