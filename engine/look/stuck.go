package look

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"sockwarden/collectors"
	"sockwarden/collectors/stuck"
	"sockwarden/engine/world"
)

const (
	// maxHanging bounds the hanging look-ups in a namespace: each keeps a thread until the
	// kernel returns.
	maxHanging = 8
	// hangsAtATime bounds them in one look: each takes stuck.Limit.
	hangsAtATime = 2
)

// hanging keeps the calls in one namespace that the kernel has not returned from.
type hanging struct {
	name    string
	dumps   []*stuck.Call // with tcp_info
	plain   []*stuck.Call // without
	sockets map[collectors.Key]*stuck.Call
	by      string // who seems to keep the lock, "" if unknown
	began   time.Time
}

func (h *hanging) Left() int { return len(h.dumps) + len(h.plain) + len(h.sockets) }

// text says what hangs and why.
func (h *hanging) text() string {
	return "reading tcp_info does not return from the kernel because " + cmp.Or(h.by, "a process keeps the lock of a socket")
}

// lookStuck notes that a look at a namespace hangs.
func (g *hangs) lookStuck(ctx context.Context, ns *Namespace) *hanging {
	h := g.All[ns.Inode]
	if h == nil {
		h = &hanging{name: ns.Name, sockets: map[collectors.Key]*stuck.Call{}, began: g.world.Now()}
		if g.All == nil {
			g.All = map[uint64]*hanging{}
		}
		g.All[ns.Inode] = h
		h.by = g.world.Processes.Asleep(ctx)
	}
	return h
}

// NoticeReturns forgets calls that have returned, and logs when nothing hangs any more.
func (g *hangs) NoticeReturns() {
	back := func(c *stuck.Call) bool { return c.Back() }
	for inode, h := range g.All {
		h.dumps, h.plain = slices.DeleteFunc(h.dumps, back), slices.DeleteFunc(h.plain, back)
		maps.DeleteFunc(h.sockets, func(_ collectors.Key, c *stuck.Call) bool { return c.Back() })
		if h.Left() == 0 {
			delete(g.All, inode)
			g.log.Info("looks return again", "netns", h.name, "after", g.world.Now().Sub(h.began).Round(time.Second))
		}
	}
}

// TellHanging logs what still hangs when the engine closes: the process ends only when its
// last thread returns from the kernel.
func (g *hangs) TellHanging() {
	g.NoticeReturns()
	for _, h := range g.All {
		g.log.Warn("stopping, but this process ends only when its hanging calls return from the kernel", "netns", h.name,
			"threads", h.Left(), "since", h.began.Format(time.RFC3339), "why", h.text())
	}
}

// shut returns why sock_diag cannot show a namespace, nil if it can. Before Linux 6.9
// requests share mutexes, even across namespaces: one that hangs holds up all others.
func (g *hangs) shut(ns *Namespace) error {
	if h := g.All[ns.Inode]; h != nil && len(h.plain) > 0 {
		return fmt.Errorf("%s: %w", h.text(), h.plain[0])
	}
	if !g.world.Host.Kernel.Before(6, 9) {
		return nil
	}
	for _, h := range g.All {
		return fmt.Errorf("namespace %s: %s, and before Linux 6.9 that holds up all others: %w", h.name, h.text(), stuck.ErrHeldUp)
	}
	return nil
}

// streamPast streams a namespace. If that hangs, it tries again without tcp_info, which
// needs no locks, and then reads the tcp_info of each candidate separately. Candidates for
// which that hangs become blind: no action touches them.
func (d *dumps) streamPast(ctx context.Context, c *Picture, ns *Namespace, source collectors.Plugin, q collectors.Query, total int) error {
	if !source.Actionable {
		return d.stream(ctx, c, ns, source, d.parallel(q, total))
	}
	if err := d.Hangs.shut(ns); err != nil {
		return err
	}
	locks := q.Fields.Meets(collectors.InfoFields()) && slices.ContainsFunc(q.Protocols, collectors.Protocol.Connects)
	if !locks || d.Hangs.All[ns.Inode] == nil {
		err := d.stream(ctx, c, ns, source, d.parallel(q, total))
		if !locks || stuck.In(err) == nil || ctx.Err() != nil {
			return err
		}
		if err := d.Hangs.shut(ns); err != nil {
			return err
		}
	}
	q.Fields.Remove(collectors.InfoFields())
	from := len(c.Candidates)
	if err := d.stream(ctx, c, ns, source, d.parallel(q, total)); err != nil {
		return err
	}
	return d.completeAll(ctx, c, ns, c.Candidates[from:])
}

// completeAll looks up the candidates of a namespace whose records lack tcp_info, and
// reports how many still lack it because the look-up hangs.
func (d *dumps) completeAll(ctx context.Context, c *Picture, ns *Namespace, all []*Candidate) error {
	h := d.Hangs.All[ns.Inode]
	var cands []*Candidate
	for _, cand := range all {
		switch s := &cand.Socket; {
		case !s.Protocol.Connects(), s.Cookie == 0:
		case h != nil && h.sockets[collectors.KeyOf(s)] != nil:
			cand.Blind = true
		case h != nil && len(h.sockets) >= maxHanging:
			cand.Blind = hasLock(s)
		default:
			cands = append(cands, cand)
		}
	}
	err := errors.Join(InParts(d.workers, cands, func(part []*Candidate) []error {
		return []error{d.complete(ctx, ns, part)}
	})...)
	for _, cand := range cands {
		if cand.call != nil {
			h = d.Hangs.lookStuck(ctx, ns)
			h.sockets[collectors.KeyOf(&cand.Socket)], cand.call = cand.call, nil
		}
	}
	if h == nil {
		return err
	}
	why := fmt.Errorf("namespace %s: %s", ns.Name, h.text()) //nolint:err113 // for people
	blind := slices.DeleteFunc(slices.Clone(all), func(cand *Candidate) bool { return !cand.Blind })
	if len(blind) == 0 {
		c.warn(fmt.Errorf("%w; reading the sockets that rules may match one by one", why))
		return err
	}
	s := &blind[0].Socket
	c.fail(fmt.Errorf("%w; nothing is done to what cannot be looked at (%s): %s -> %s, %s", why, collectors.Counted(len(blind), "socket"),
		netip.AddrPortFrom(s.Local.Netip(), s.LocalPort), netip.AddrPortFrom(s.Remote.Netip(), s.RemotePort), s.State))
	return err
}

// hasLock reports whether the kernel takes a lock to show the tcp_info of s. Sockets in
// TIME_WAIT or SYN_RECV have none.
func hasLock(s *collectors.Socket) bool {
	return s.Protocol.Connects() && s.State != collectors.TimeWait && s.State != collectors.SynRecv && s.State != collectors.Listen
}

// complete looks up candidates of a namespace. Those for which the kernel does not return
// become blind, and if these are too many, so do those behind them.
func (d *dumps) complete(ctx context.Context, ns *Namespace, cands []*Candidate) error {
	if len(cands) == 0 {
		return nil
	}
	var err error
	for hung := 0; len(cands) > 0; hung++ {
		socks := make([]*collectors.Socket, len(cands))
		for i, cand := range cands {
			socks[i] = &cand.Socket
		}
		now, errs, lookErr := d.world.Sockets.LookUp(ctx, &ns.Namespace, socks)
		if lookErr != nil {
			return lookErr
		}
		var left []*Candidate
		for i, cand := range cands {
			switch call := stuck.In(errs[i]); {
			case call == nil:
				if lookErr := cand.complete(&now[i], errs[i]); lookErr != nil {
					err = lookErr
				}
			case !errors.Is(errs[i], world.ErrNotAsked):
				cand.Blind, cand.call = true, call
			case hung+1 < hangsAtATime && ctx.Err() == nil:
				left = append(left, cand)
			default:
				cand.Blind = hasLock(&cand.Socket)
			}
		}
		cands = left
	}
	return err
}

// complete takes over the record from a look-up.
func (cand *Candidate) complete(now *collectors.Socket, err error) error {
	if err == nil && collectors.KeyOf(now) == collectors.KeyOf(&cand.Socket) {
		cand.Socket = *now
	}
	if err != nil && !errors.Is(err, collectors.ErrGone) {
		return err
	}
	return nil // the last look finds sockets that are gone, or turn out to be subflows
}

// readPast is read, but gives up if the kernel does not return.
func (d *dumps) readPast(ctx context.Context, w Wanted, ns *Namespace, source collectors.Plugin, q collectors.Query, part bool) (*pass, error) {
	var found *pass
	var failed error
	var progress atomic.Uint64
	// A read that we gave up goes on, so it must share nothing with the cycle.
	own := collectors.Namespace{Inode: ns.Inode, Name: ns.Name, Meant: slices.Clone(ns.Meant)}
	if w.Program.Reads.Meets(collectors.InterfaceFields()) {
		own.Interfaces = maps.Clone(ns.Interfaces)
	}
	within, cancel := context.WithCancel(ctx)
	defer cancel()
	if hung := stuck.Watch(ctx, "a dump", &progress, func() {
		found, failed = d.read(within, w, ns, &own, source, q, part, &progress)
	}); hung != nil {
		return &pass{}, hung
	}
	return found, failed
}

// collectPast streams a look that takes no socket locks. Before Linux 6.9 it can still hang
// behind a request that waits for one. There it hands out nothing before it is complete,
// so that the caller can give it up.
func (d *dumps) collectPast(ctx context.Context, ns *Namespace, source collectors.Plugin, q collectors.Query) iter.Seq2[*collectors.Socket, error] {
	if !d.world.Host.Kernel.Before(6, 9) {
		return d.world.Sockets.Collect(ctx, &ns.Namespace, source, q)
	}
	return func(yield func(*collectors.Socket, error) bool) {
		var all []collectors.Socket
		var failed error
		var progress atomic.Uint64
		if hung := stuck.Watch(ctx, "a dump", &progress, func() {
			for s, err := range d.world.Sockets.Collect(ctx, &ns.Namespace, source, q) {
				if progress.Add(1); err != nil {
					failed = err
					return
				}
				all = append(all, *s)
			}
		}); hung != nil {
			yield(nil, hung)
			return
		}
		for i := range all {
			if !yield(&all[i], nil) {
				return
			}
		}
		if failed != nil {
			yield(nil, failed)
		}
	}
}

// noteHung notes which parts of a look hang, and reports whether any does.
func (g *hangs) noteHung(ctx context.Context, ns *Namespace, parts []collectors.Query, errs []error) (any bool) {
	for i, err := range errs {
		call := stuck.In(err)
		if call == nil {
			continue
		}
		any = true
		if h := g.lookStuck(ctx, ns); parts[i].Fields.Meets(collectors.InfoFields()) {
			h.dumps = append(h.dumps, call)
		} else {
			h.plain = append(h.plain, call)
		}
	}
	return any
}
