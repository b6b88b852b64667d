package world

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"sockwarden/collectors"
	"sockwarden/collectors/cgroup"
	"sockwarden/collectors/containers"
)

// Containers knows the names that people give to containers.
type Containers interface {
	// Lookup returns containers, by the control groups of their processes. It waits for
	// engines only a moment: a later call returns what comes later.
	Lookup(ctx context.Context, groups []string) map[string]Container
	// At names the containers that run and have these addresses, as ENGINE:NAME. What is
	// missing nobody could tell: the error says why, if anybody did.
	At(ctx context.Context, ends []netip.AddrPort) (map[netip.AddrPort]string, error)
}

// Container is what its engine says about a container.
type Container struct {
	collectors.ContainerNames
	// Known are the fields that the engine gives.
	Known collectors.FieldSet
	// Err says why nothing is known, and what helps; nil if something is known.
	Err error
	// Absent says that nobody could answer: there is no engine, or none has the
	// container.
	Absent bool
	// Ports are the published ports, if PortsKnown says so. Where a container is in several
	// networks, Container of one has no address.
	Ports      []collectors.Proxy
	PortsKnown bool
}

// engines are the container engines of this host.
type engines struct{ names *containers.Names }

func newEngines() engines {
	return engines{containers.New(containers.Options{Places: containers.Host()})}
}

func (e engines) Lookup(ctx context.Context, groups []string) map[string]Container {
	refs := make([]containers.Ref, len(groups))
	for i, g := range groups {
		refs[i] = containers.RefOf(cgroup.Path(g))
	}
	answers := e.names.Lookup(ctx, refs...)
	found := make(map[string]Container, len(groups))
	for i, g := range groups {
		found[g] = containerOf(answers[refs[i].ID])
	}
	e.joined(ctx, refs, groups, answers, found)
	return found
}

// joined gives containers that are in the network of another one the ports of that.
func (e engines) joined(ctx context.Context, refs []containers.Ref, groups []string, answers map[string]containers.Answer, found map[string]Container) {
	into := map[string]containers.Ref{} // by control group
	for i, g := range groups {
		a := answers[refs[i].ID]
		if id, ok := strings.CutPrefix(a.Container.NetworkMode, "container:"); a.Err == nil && ok {
			into[g] = containers.Ref{ID: id}
		}
	}
	if len(into) == 0 {
		return
	}
	others := e.names.Lookup(ctx, slices.Collect(maps.Values(into))...)
	for g, ref := range into {
		of, c := containerOf(others[ref.ID]), found[g]
		c.Ports, c.PortsKnown = of.Ports, of.PortsKnown
		found[g] = c
	}
}

// At finds containers by their addresses in the networks of their engines. An address that
// several have names none.
func (e engines) At(ctx context.Context, ends []netip.AddrPort) (map[netip.AddrPort]string, error) {
	all, err := e.names.Running(ctx)
	names := map[netip.AddrPort]string{}
	for _, end := range ends {
		n := 0
		for i := range all {
			if slices.Contains(all[i].Addrs, end.Addr()) {
				o := collectors.Owner{Container: all[i].ID, ContainerNames: namesOf(&all[i]), Known: collectors.Fields(collectors.FieldContainer)}
				names[end] = o.InContainer()
				n++
			}
		}
		if n > 1 {
			delete(names, end)
		}
	}
	if errors.Is(err, containers.ErrNoEngine) {
		return names, nil
	}
	return names, err
}

// parts are the fields that each part of an answer gives.
var parts = map[containers.Part]collectors.FieldSet{
	containers.PartName: collectors.Fields(collectors.FieldContainer), containers.PartLabels: collectors.Fields(collectors.FieldComposeService),
	containers.PartPod: collectors.Fields(collectors.FieldPod), containers.PartImage: collectors.Fields(collectors.FieldImage),
}

func containerOf(a containers.Answer) Container {
	if a.Err != nil {
		return Container{Err: withCure(a.Err), Absent: errors.Is(a.Err, containers.ErrNoEngine) || errors.Is(a.Err, containers.ErrNoSuch)}
	}
	c := Container{ContainerNames: namesOf(&a.Container), PortsKnown: a.Container.Has(containers.PartPorts)}
	for _, p := range a.Container.Published {
		protocol := collectors.TCP
		switch p.Protocol {
		case collectors.TCP.String():
		case collectors.UDP.String():
			protocol = collectors.UDP
		default:
			continue
		}
		c.Ports = append(c.Ports, collectors.Proxy{Protocol: protocol, Host: p.Host, Container: p.Container})
	}
	for part, fields := range parts {
		if a.Container.Has(part) {
			c.Known.Add(fields)
		}
	}
	return c
}

func namesOf(c *containers.Container) collectors.ContainerNames {
	return collectors.ContainerNames{
		Engine: string(c.Engine), ContainerName: c.Name, ComposeService: c.ComposeService, Pod: c.Pod, Image: c.Image, ContainerLabels: c.ShownLabels(),
	}
}

// withCure adds what helps if names are not available.
func withCure(err error) error {
	if errors.Is(err, containers.ErrNoEngine) {
		return fmt.Errorf("%w: its socket or files have to be where sockwarden runs (sockwarden doctor lists them)", err)
	}
	return err
}
