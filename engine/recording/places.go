package recording

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path"
	"slices"
	"strings"

	"sockwarden/collectors"
	"sockwarden/engine/world"
)

type namespaces struct{ w *World }

func (n namespaces) at(i int) world.Namespace {
	d := &n.w.rec.Namespaces[i]
	ns := world.Namespace{Namespace: collectors.Namespace{Inode: d.Inode, Name: d.Name}, PID: d.PID}
	if !d.Own {
		ns.Open = func() (*os.File, error) { return nil, errElsewhere }
	}
	return ns
}

// Select returns the recorded namespaces of a name. One that is not there is not looked
// into, as one that does not exist.
func (n namespaces) Select(_ context.Context, name string) (found []world.Namespace, err error) {
	for i := range n.w.rec.Namespaces {
		d := &n.w.rec.Namespaces[i]
		if d.Recorded && (name == "all" || d.Name == name || slices.Contains(d.Meant, name) || matches(name, d.Name)) {
			found = append(found, n.at(i))
		}
	}
	others := slices.ContainsFunc(n.w.rec.Namespaces, func(d Namespace) bool { return !d.Recorded })
	switch {
	case name == "all" && others:
		err = errors.New("not every network namespace is in the recording: record it with --netns all")
	case len(found) == 0:
		err = fmt.Errorf("network namespace %s is not in the recording (record --netns): %w", name, fs.ErrNotExist)
	}
	return found, err
}

func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return err == nil && ok && world.IsPattern(pattern)
}

// All returns the namespaces of the host.
func (n namespaces) All() (all []world.Namespace, err error) {
	for i := range n.w.rec.Namespaces {
		all = append(all, n.at(i))
	}
	return all, nil
}

// Every is All that fails where there were others, or what was in them was not recorded.
func (n namespaces) Every() ([]world.Namespace, error) {
	all, _ := n.All()
	switch {
	case n.w.rec.Unentered != "":
		return all, errors.New(n.w.rec.Unentered)
	case n.w.rec.Partial:
		return all, errNotRecorded
	}
	return all, nil
}

type counter struct{ w *World }

// Count returns how many sockets there were.
func (c counter) Count(all []*world.Namespace) ([]world.Counts, []error) {
	counts, errs := make([]world.Counts, len(all)), make([]error, len(all))
	for i, ns := range all {
		counts[i], errs[i] = c.CountBeside(ns)
		counts[i].Sure = counts[i].Sure && !c.w.rec.Partial
	}
	return counts, errs
}

// CountBeside returns how many sockets there were in one namespace.
func (c counter) CountBeside(ns *world.Namespace) (world.Counts, error) {
	d := c.w.namespace(ns)
	if d == nil {
		return world.Counts{}, errNotRecorded
	}
	return world.Counts{TCP: d.TCP, UDP: d.UDP, Sure: d.Sure}, nil
}

// namespace is what the recording says about a namespace, nil for nothing.
func (w *World) namespace(ns *world.Namespace) *Namespace {
	for i := range w.rec.Namespaces {
		if d := &w.rec.Namespaces[i]; d.Inode == ns.Inode {
			return d
		}
	}
	return nil
}

type network struct{ w *World }

// Interfaces returns the names of interfaces.
func (n network) Interfaces(ns *world.Namespace) (map[uint32]string, error) {
	if d := n.w.namespace(ns); d != nil {
		return d.Interfaces, nil
	}
	return nil, errNotRecorded
}

// Initial reports whether it was the one that the machine started with, or may have been.
func (n network) Initial(ns *world.Namespace) bool {
	d := n.w.namespace(ns)
	return d == nil || d.Initial
}

// Ports returns the ephemeral ports.
func (n network) Ports(ns *world.Namespace) (world.Ports, error) {
	d := n.w.namespace(ns)
	switch {
	case d == nil:
		return world.Ports{}, errNotRecorded
	case d.NoPorts != "":
		return world.Ports{AcceptsVRF: d.AcceptsVRF}, errors.New(d.NoPorts)
	}
	return world.Ports{Low: d.PortLow, High: d.PortHigh, AcceptsVRF: d.AcceptsVRF}, nil
}

// Addresses returns its own addresses among those of recorded sockets.
func (n network) Addresses(ns *world.Namespace) (world.Addresses, error) {
	d := n.w.namespace(ns)
	switch {
	case d == nil || !d.Recorded:
		return world.Addresses{}, errNotRecorded
	case d.NoAddresses != "":
		return world.Addresses{}, errors.New(d.NoAddresses)
	}
	anywhere, on := map[netip.Addr]bool{}, map[string]bool{}
	for _, text := range d.Addresses {
		on[text] = true
		if !strings.Contains(text, "%") {
			a, _, _ := ownAddress(text) // Read has checked it
			anywhere[a.Unmap()] = true
		}
	}
	return world.Addresses{BindsAny4: d.BindsAny4, BindsAny6: d.BindsAny6, Holds: func(a netip.Addr, device uint32) bool {
		return anywhere[a] && device == 0 || on[deviceAddress(a, device)]
	}}, nil
}

// deviceAddress writes an address, with the index of a device if there is one.
func deviceAddress(a netip.Addr, device uint32) string {
	if device == 0 {
		return a.String()
	}
	return fmt.Sprintf("%s%%%d", a, device)
}
