package look

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"sockwarden/collectors"
	"sockwarden/engine/world"
)

// nameContainers asks what the containers are called in which candidates' owners are: all
// in one question, and only if a condition or what is shown reads it.
func (k *Looker) nameContainers(ctx context.Context, c *Picture) {
	decides := c.Plan.Reads.Meets(collectors.EngineFields())
	if !decides && !k.shows.Meets(collectors.ContainerFields()) {
		return
	}
	inside := map[string][]*collectors.Owner{} // by control group
	note := func(owners []collectors.Owner) {
		for i := range owners {
			if o := &owners[i]; o.Container != "" {
				inside[o.Cgroup] = append(inside[o.Cgroup], o)
			}
		}
	}
	for _, cand := range c.Candidates {
		note(cand.Facts.Owners)
		note(cand.peers)
	}
	defer func() {
		for _, cand := range c.Candidates {
			cand.setPeerContainer()
		}
	}()
	if len(inside) == 0 {
		return
	}
	groups := slices.Sorted(maps.Keys(inside))
	var unknown []error
	answers := k.world.Containers.Lookup(ctx, groups)
	for _, g := range groups {
		a := answers[g]
		if a.Err != nil && (decides || !a.Absent) {
			unknown = append(unknown, a.Err)
		}
		for _, o := range inside[g] {
			name(o, &a)
		}
	}
	if len(unknown) > 0 {
		c.warn(fmt.Errorf("names of containers are not known (%d of %d): %w", len(unknown), len(groups), unknown[0]))
	}
}

// keepNames names the containers of processes as they were called a moment ago, so that an
// engine is not asked again for each of them.
func keepNames(now, before []collectors.Owner) {
	for i := range now {
		for k := range before {
			if o, was := &now[i], &before[k]; o.Container != "" && o.Container == was.Container {
				name(o, &world.Container{ContainerNames: was.ContainerNames, Known: was.Known.And(collectors.ContainerFields())})
			}
		}
	}
}

// name notes what is known of the container of a process.
func name(o *collectors.Owner, a *world.Container) {
	o.ContainerNames = a.ContainerNames
	o.Known.Remove(collectors.ContainerFields())
	o.Known.Add(a.Known)
}
