package world

import (
	"errors"
	"net"
	"os"

	"sockwarden/collectors/localaddr"
	"sockwarden/collectors/netns"
	"sockwarden/collectors/procfs"
)

// kernelNetwork asks from inside a namespace.
type kernelNetwork struct{ proc procfs.Network }

func (k kernelNetwork) CountBeside(ns *Namespace) (Counts, error) { return k.proc.SockstatOf(ns.PID) }

func (k kernelNetwork) Count(all []*Namespace) ([]Counts, []error) {
	counts, errs := make([]Counts, len(all)), make([]error, len(all))
	var away []int
	for i, ns := range all {
		if ns.Open == nil {
			counts[i], errs[i] = k.proc.Sockstat()
		} else {
			away = append(away, i)
		}
	}
	if len(away) == 0 {
		return counts, errs
	}
	err := netns.Tour(len(away), func(k int) (*os.File, error) { return all[away[k]].Open() }, func(at int, err error) {
		if i := away[at]; err != nil {
			errs[i] = noEntry(err)
			if errors.Is(errs[i], ErrNoEntry) {
				all[i].closed = errs[i]
			}
		} else {
			counts[i], errs[i] = k.proc.Sockstat()
		}
	})
	if err != nil {
		for _, i := range away {
			errs[i] = err
		}
	}
	return counts, errs
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

func (k kernelNetwork) Addresses(ns *Namespace) (a Addresses, err error) {
	err = ns.inside(func() error {
		a.BindsAny4, a.BindsAny6 = k.proc.BindsAny()
		own, err := localaddr.Read()
		if err == nil {
			a.Holds = own.Holds
		}
		return err
	})
	return a, err
}
