package world

import (
	"context"
	"errors"
	"net"

	"sockwarden/collectors"
	"sockwarden/collectors/netns"
	"sockwarden/collectors/procfs"
)

// HostName is the name of the namespace that this process runs in.
const HostName = netns.HostName

// kernelNamespaces are the network namespaces of the kernel.
type kernelNamespaces struct{ engines engines }

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
