package world

import (
	"context"
	"errors"
	"fmt"

	"sockwarden/collectors"
	"sockwarden/collectors/cgroup"
	"sockwarden/collectors/containers"
)

// Containers knows what people call containers.
type Containers interface {
	// Lookup tells of containers, by the control groups of processes in them. It waits for
	// engines for a moment only: what comes later, a later call tells.
	Lookup(ctx context.Context, groups []string) map[string]Container
}

// Container is what the engine of a container says of it.
type Container struct {
	collectors.ContainerNames
	// Known are the fields that it tells.
	Known collectors.FieldSet
	// Err says why nothing is known, and what helps; nil if something is.
	Err error
	// Absent says that nobody was there to ask: no engine, or none that has the container.
	Absent bool
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
	return found
}

// parts are the fields that each part of an answer tells.
var parts = map[containers.Part]collectors.FieldSet{
	containers.PartName: collectors.Fields(collectors.FieldContainer), containers.PartLabels: collectors.Fields(collectors.FieldComposeService),
	containers.PartPod: collectors.Fields(collectors.FieldPod), containers.PartImage: collectors.Fields(collectors.FieldImage),
}

func containerOf(a containers.Answer) Container {
	if a.Err != nil {
		return Container{Err: withCure(a.Err), Absent: errors.Is(a.Err, containers.ErrNoEngine) || errors.Is(a.Err, containers.ErrNoSuch)}
	}
	c := Container{ContainerNames: collectors.ContainerNames{
		Engine: string(a.Container.Engine), ContainerName: a.Container.Name, ComposeService: a.Container.ComposeService, Pod: a.Container.Pod, Image: a.Container.Image,
	}}
	for part, fields := range parts {
		if a.Container.Has(part) {
			c.Known.Add(fields)
		}
	}
	return c
}

// withCure says what helps where names cannot be had.
func withCure(err error) error {
	if errors.Is(err, containers.ErrNoEngine) {
		return fmt.Errorf("%w: its socket or files have to be where sockwarden runs (sockwarden doctor lists them)", err)
	}
	return err
}
