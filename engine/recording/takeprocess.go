package recording

import (
	"context"
	"errors"
	"slices"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine/world"
)

// containers asks engines for the containers of all processes.
func (t *taker) containers(ctx context.Context) {
	var groups []string
	for i := range t.rec.Processes {
		if o := &t.rec.Processes[i].Owner; o.Container != "" && !slices.Contains(groups, o.Cgroup) {
			groups = append(groups, o.Cgroup)
		}
	}
	slices.Sort(groups)
	if len(groups) > 0 {
		t.rec.Containers = t.world.Containers.Lookup(ctx, groups)
	}
	for _, p := range t.world.Processes.Proxies(ctx) {
		t.rec.Proxies = append(t.rec.Proxies, proxyDoc(p))
	}
}

// logins notes through which processes the user is logged in.
func (t *taker) logins(context.Context) {
	for i := range t.rec.Processes {
		p := &t.rec.Processes[i]
		p.Login = t.world.Self.LoginOf != nil && t.world.Self.IsLogin(&p.Owner)
	}
}

// wholesFor bounds how long to look for the processes of units and containers: each takes
// a walk through all processes, and only rules with actions on them ask for it.
const wholesFor = 500 * time.Millisecond

var errNoTime = errors.New("there were too many units and containers to record the processes of all")

// wholes lists the processes of each unit and container.
func (t *taker) wholes(ctx context.Context) {
	until := t.world.Now().Add(wholesFor)
	done := map[string]bool{}
	for i := range len(t.rec.Processes) {
		o := t.rec.Processes[i].Owner
		name := "unit " + o.Unit
		if o.Container != "" {
			name = "container " + o.Container
		}
		if done[name] || name == "unit " || ctx.Err() != nil {
			continue
		}
		done[name] = true
		whole := Whole{Of: i}
		var members []collectors.Owner
		err := errNoTime
		if t.world.Until(until) > 0 {
			members, err = t.world.Processes.Together(&o)
		}
		if err == nil && t.rec.Sight.HidePID != "" {
			err = collectors.ErrNotPermitted
		}
		if err != nil {
			whole.Err = err.Error()
		}
		for k := range members {
			whole.Members = append(whole.Members, t.process(&members[k]))
		}
		t.rec.Wholes = append(t.rec.Wholes, whole)
	}
}

// elsewhere finds the connections and listeners of processes in namespaces that were not
// looked into: they die with the process, too. If there are no others, there is nothing to
// find.
func (t *taker) elsewhere(context.Context) {
	if t.rec.Partial || t.rec.Unentered == "" && !slices.ContainsFunc(t.rec.Namespaces, func(d Namespace) bool { return !d.Recorded }) {
		return
	}
	recorded := map[uint32]bool{}
	for i := range t.rec.Sockets {
		recorded[t.rec.Sockets[i].Inode] = true
	}
	for i := range t.rec.Processes {
		p := &t.rec.Processes[i]
		if err := t.elsewhereOf(p, recorded); err != nil && !errors.Is(err, collectors.ErrGone) {
			p.NotExamined = err.Error()
		}
	}
}

func (t *taker) elsewhereOf(p *Process, recorded map[uint32]bool) error {
	held, err := t.world.Processes.Sockets(&p.Owner)
	if err != nil {
		return err
	}
	held = slices.DeleteFunc(held, func(h world.Held) bool { return recorded[h.Inode] })
	return t.world.Processes.Borrow(&p.Owner, held, func(b world.Borrowed) error {
		state, queued, err := b.State()
		if err != nil || state != collectors.Established && (state != collectors.Listen || queued == 0) {
			return nil //nolint:nilerr // it is no TCP connection
		}
		e := Elsewhere{Inode: b.Inode(), State: state.String(), Queued: queued}
		if state == collectors.Established {
			e.Queued = 0
			if e.Cookie, err = b.Cookie(); err != nil {
				return err
			}
		}
		err = b.Namespace(func(ns *world.Namespace) error {
			e.NetNS = ns.Inode
			return nil
		})
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(p.Elsewhere, func(o Elsewhere) bool { return o.Inode == e.Inode }) {
			p.Elsewhere = append(p.Elsewhere, e)
		}
		return nil
	})
}
