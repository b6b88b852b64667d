package look

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/world"
)

// Harm is what dies with a process or unit in addition to the chosen sockets.
type Harm struct {
	name        string     // of the process, unit or container
	Connections []Endpoint // its established connections, including those it has yet to accept
	err         error      // why they could not be counted, nil if they were
}

// Endpoint names an established connection, for as long as its namespace lives.
type Endpoint struct {
	Netns  uint64 // inode of the nsfs file
	Cookie uint64 // 0 if we only know how many there are
}

// Exceeds returns why the harm is more than a rule allows, "" if it is not. A negative
// limit means no limit; unknown harm exceeds any other limit.
func (h *Harm) Exceeds(limit int) string {
	switch {
	case limit < 0:
	case h.err != nil:
		return fmt.Sprintf("max_collateral %d: cannot tell how many established connections would die with %s: %v", limit, h.name, h.err)
	case len(h.Connections) > limit:
		return fmt.Sprintf("max_collateral %d: %s would die with %s", limit, collectors.Counted(len(h.Connections), "established connection"), h.name)
	}
	return ""
}

// Of counts the established connections of a process, or of all processes of its unit or
// container if the action is for that, in every namespace. One look serves a whole cycle.
//
// What waits to be accepted dies with the process, too, unless the action is because
// nobody accepts it: then nobody serves it.
func (t *Harms) Of(ctx context.Context, c *Picture, cand *Candidate, o *collectors.Owner, plugin *actions.Bound) Harm {
	key, served := TargetKey(o, plugin.Plugin), forListener(cand, plugin)
	if served {
		key += " without its queues"
	}
	if h, ok := c.Extra.collateral[key]; ok {
		return h
	}
	h := Harm{name: fmt.Sprintf("%s[%d]", o.Name, o.PID)}
	processes := []collectors.Owner{*o}
	if name := WholeOf(o); plugin.OnUnit() && name != "" {
		h.name = name
		processes, h.err = t.World.Processes.Together(o)
	}
	found := map[Endpoint]int{}
	for i := range processes {
		if h.err == nil {
			h.err = t.connectionsOf(ctx, c, cand.NS, &processes[i], served, found)
		}
	}
	for end, n := range found {
		h.Connections = append(h.Connections, slices.Repeat([]Endpoint{end}, n)...)
	}
	if h.err != nil {
		t.Log.Warn("collateral unknown", "process", o.Name, "pid", o.PID, "error", h.err)
	}
	if c.Extra.collateral == nil {
		c.Extra.collateral = map[string]Harm{}
	}
	c.Extra.collateral[key] = h
	return h
}

// connectionsOf adds the established connections of a process to found, only those that it
// has accepted if served is set; a process that has ended has none. It asks sockets of
// other namespaces themselves where they belong.
func (t *Harms) connectionsOf(ctx context.Context, c *Picture, ns *Namespace, o *collectors.Owner, served bool, found map[Endpoint]int) error {
	held, err := t.World.Processes.Sockets(o)
	if err != nil {
		if errors.Is(err, collectors.ErrGone) {
			return nil
		}
		return err
	}
	p, err := t.inventory(ctx, c, ns)
	if err != nil {
		return err
	}
	own := make(map[uint32]bool, len(held))
	for _, h := range held {
		own[h.Inode] = true
	}
	p.count(own, served, found)
	seen := []*inventory{p}
	elsewhere := slices.DeleteFunc(held, func(h world.Held) bool { return p.shows(h.Inode) })
	return t.World.Processes.Borrow(o, elsewhere, func(s world.Borrowed) error {
		if slices.ContainsFunc(seen, func(p *inventory) bool { return p.shows(s.Inode()) }) {
			return nil
		}
		state, queued, err := s.State()
		if err != nil {
			return fmt.Errorf("process %d: %w", o.PID, err)
		}
		if state != collectors.Established && (state != collectors.Listen || served) {
			return nil
		}
		p, err := t.around(ctx, c, s)
		if err != nil {
			return err
		}
		if !slices.Contains(seen, p) {
			seen = append(seen, p)
			p.count(own, served, found)
		}
		if !p.shows(s.Inode()) {
			return p.countLate(s, state, queued, found)
		}
		return nil
	})
}

// Established returns the cookies of the established TCP connections of a namespace,
// which may be ns itself. A namespace that has ended has none.
func (t *Harms) Established(ctx context.Context, ns *Namespace, inode uint64) (map[uint64]bool, error) {
	if ns.Inode != inode {
		all, err := t.World.Namespaces.All()
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(all, func(other world.Namespace) bool { return other.Inode == inode })
		if i < 0 {
			return nil, nil
		}
		ns = &Namespace{Namespace: all[i]}
	}
	cookies := map[uint64]bool{}
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.Mask(collectors.Established)}
	for s, err := range t.Dumps.sockets(ctx, ns, q) {
		if err != nil {
			return nil, err
		}
		cookies[s.Cookie] = true
	}
	return cookies, nil
}

// sockets streams an extra look at a namespace, unless that would hang. It goes on when
// ctx ends, so that reports stay true to the end.
func (d *dumps) sockets(ctx context.Context, ns *Namespace, q collectors.Query) func(func(*collectors.Socket, error) bool) {
	return func(yield func(*collectors.Socket, error) bool) {
		source := d.sources[0]
		if err := d.Hangs.shut(ns); err != nil && source.Actionable {
			yield(nil, err)
			return
		}
		for s, err := range d.collectPast(context.WithoutCancel(ctx), ns, source, q) {
			if !yield(s, err) {
				return
			}
		}
	}
}

// TargetKey names what one effect on a process is for: the process, its container or its
// unit.
func TargetKey(o *collectors.Owner, plugin *actions.Plugin) string {
	switch {
	case plugin.OnUnit() && o.Container != "":
		return "container " + o.Container
	case plugin.OnUnit() && o.Unit != "":
		return "unit " + o.Unit
	}
	return ProcessKey(o)
}

// WholeOf says for people what an action on units ends with a process: its container or,
// outside of one, its unit; "" if it is in neither.
func WholeOf(o *collectors.Owner) string {
	switch {
	case o.Container == "":
		return o.Unit
	case o.ContainerName != "":
		return "container " + o.ContainerName
	}
	return fmt.Sprintf("container %.12s", o.Container)
}

// ProcessKey names a process, for as long as the machine runs.
func ProcessKey(o *collectors.Owner) string {
	return fmt.Sprintf("process %d since %d", o.PID, o.StartTime)
}
