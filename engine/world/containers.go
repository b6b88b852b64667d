package world

import (
	"context"
	"errors"
	"fmt"

	"sockwarden/collectors"
	"sockwarden/collectors/cgroup"
	"sockwarden/collectors/containers"
)

// Containers knows the names that people give to containers.
type Containers interface {
	// Lookup returns containers, by the control groups of their processes. It waits for
	// engines only a moment: a later call returns what comes later.
	Lookup(ctx context.Context, groups []string) map[string]Container
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

// parts are the fields that each part of an answer gives.
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

// withCure adds what helps if names are not available.
func withCure(err error) error {
	if errors.Is(err, containers.ErrNoEngine) {
		return fmt.Errorf("%w: its socket or files have to be where sockwarden runs (sockwarden doctor lists them)", err)
	}
	return err
}
