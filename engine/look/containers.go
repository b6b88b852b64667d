package look

import (
	"context"
	"maps"
	"slices"

	"sockwarden/collectors"
	"sockwarden/engine/world"
)

// nameContainers asks for the names of the containers of the candidates' owners and of the
// other ends: of all in one question, and only if a condition or a column reads them. The
// answer also says what is published.
func (k *Looker) nameContainers(ctx context.Context, c *Picture) {
	decides := c.Plan.Reads.Meets(collectors.EngineFields())
	if !decides && !k.shows.Meets(collectors.ContainerFields()) {
		return
	}
	answers := k.askContainers(ctx, c, decides)
	k.followProxies(ctx, c, decides)
	var proxies []collectors.Proxy
	asked := false
	byProxy := func() []collectors.Proxy {
		if !asked && c.Plan.Reads.Has(collectors.FieldPublished) {
			proxies, asked = k.world.Processes.Proxies(ctx), true
		}
		return proxies
	}
	for _, cand := range c.Candidates {
		setPeerContainer(&cand.Facts)
		publish(cand, answers, byProxy)
	}
}

// askContainers names the containers of all owners, and returns the answers by control
// group.
func (k *Looker) askContainers(ctx context.Context, c *Picture, decides bool) map[string]world.Container {
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
		note(cand.Facts.Peers)
		if l := cand.Facts.ListenerOwner; l != nil && l.Container != "" && Waits(&cand.Socket) {
			inside[l.Cgroup] = append(inside[l.Cgroup], l)
		}
	}
	if len(inside) == 0 {
		return nil
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
	c.warnNames(unknown, len(groups))
	return answers
}

// keepNames gives the containers of processes the names of a moment ago, which saves asking
// an engine again for each of them.
func keepNames(now, before []collectors.Owner) {
	for i := range now {
		for k := range before {
			o, was := &now[i], &before[k]
			if o.Container != "" && o.Container == was.Container {
				name(o, &world.Container{ContainerNames: was.ContainerNames, Known: was.Known.And(collectors.ContainerFields())})
			}
			if o.PID == was.PID && o.StartTime == was.StartTime {
				o.LeadsTo = was.LeadsTo
			}
		}
	}
}

// name notes what is known about the container of a process.
func name(o *collectors.Owner, a *world.Container) {
	o.ContainerNames = a.ContainerNames
	o.Known.Remove(collectors.ContainerFields())
	o.Known.Add(a.Known)
}
