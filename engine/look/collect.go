package look

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"sync"
	"sync/atomic"

	"sockwarden/collectors"
	"sockwarden/collectors/stuck"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// all streams every namespace of a picture.
func (d *dumps) all(ctx context.Context, c *Picture) error {
	failed := 0
	counts, errs := d.count(c)
	for i, ns := range c.Namespaces {
		err := errs[i]
		if ns.IsOwn() || !errors.Is(err, world.ErrNoEntry) && !errors.Is(err, fs.ErrNotExist) { // else no source could come in
			err = d.collect(ctx, c, ns, counts[i])
		}
		if errors.Is(err, world.ErrNoEntry) {
			d.collectHeld(ctx, c, ns)
		}
		if errors.Is(err, ErrTooMany) || c.Most > 0 && c.beside > c.Most {
			return ErrTooMany
		}
		if err != nil {
			if ctx.Err() != nil {
				return fmt.Errorf("look at sockets: %w", context.Cause(ctx))
			}
			failed++
			c.NotLookedInto(ns, err)
		}
	}
	for _, source := range d.extra {
		if err := d.collectExtra(ctx, c, source); err != nil {
			c.fail(err)
		}
	}
	if failed == len(c.Namespaces) && failed > 0 && c.Scanned == 0 {
		return fmt.Errorf("%w: %w", ErrNothingSeen, errors.Join(c.Errors...))
	}
	return nil
}

// collect streams one namespace. Only what a rule may match is kept.
func (d *dumps) collect(ctx context.Context, c *Picture, ns *Namespace, counts world.Counts) error {
	if c.Plan.Reads.Meets(collectors.InterfaceFields()) {
		d.nameInterfaces(ns)
	}
	q := d.Query(c.Plan)
	var errs error
	for _, part := range collectors.Split(q, len(q.Protocols)) {
		// Of our own it is asked all the same: what is refused here should be said.
		if !ns.IsOwn() && empty(counts, &part) {
			continue
		}
		errs = errors.Join(errs, d.collectPart(ctx, c, ns, part, counts.TCP))
	}
	return errs
}

// Query returns the query of a program, widened if this engine does not push conditions down.
func (d *dumps) Query(p *rules.Program) collectors.Query {
	q := p.Query
	if d.noPushdown {
		q.Plain, q.Clauses, q.States = true, nil, collectors.AllStates
	}
	return q
}

// collectPart asks one source after the other about one protocol.
func (d *dumps) collectPart(ctx context.Context, c *Picture, ns *Namespace, q collectors.Query, total int) error {
	var refused error
	for i, source := range d.sources {
		err := d.streamPast(ctx, c, ns, source, q, total)
		if err == nil && i > 0 {
			c.warn(fmt.Errorf("%w; reading /proc/net instead: ages are unknown and nothing can be acted on", refused))
		}
		held := stuck.In(err) != nil && ctx.Err() == nil || errors.Is(err, stuck.ErrHeldUp)
		if err == nil || (!held && !errors.Is(err, collectors.ErrNotPermitted) && !errors.Is(err, collectors.ErrNotSupported)) {
			return err
		}
		refused = errors.Join(refused, err)
	}
	if slices.Equal(q.Protocols, []collectors.Protocol{collectors.MPTCP}) && errors.Is(refused, collectors.ErrNotSupported) {
		c.warn(errNoMPTCP) // rules that are about it are often about TCP, too
		return nil
	}
	return refused
}

var errNoMPTCP = errors.New("the kernel does not show its MPTCP sockets: load the module mptcp_diag (modprobe; Linux 5.9)")

// pass is what one pass over one source found.
type pass struct {
	scanned    int
	byState    [16]int
	remote     [1 << 16 >> remoteShift]int // records by remote port
	candidates []*Candidate
	beside     int         // of them, those that only younger programs may match
	block      []Candidate // memory for the next
	hits       []int
}

// perBlock is how many candidates, or numbers of rules, share one allocation. Few enough
// that keeping one candidate does not keep the memory of a whole dump.
const perBlock = 32

// candidate returns memory for one more candidate.
func (p *pass) candidate() *Candidate {
	if len(p.block) == 0 {
		p.block = make([]Candidate, perBlock)
	}
	c := &p.block[0]
	p.block = p.block[1:]
	return c
}

// keepHits copies a list of rules.
func (p *pass) keepHits(hits []int) []int {
	if cap(p.hits)-len(p.hits) < len(hits) {
		p.hits = make([]int, 0, max(perBlock, len(hits)))
	}
	from := len(p.hits)
	p.hits = append(p.hits, hits...)
	return p.hits[from:len(p.hits):len(p.hits)]
}

// remoteShift is log2 of how many ports share one counter.
const remoteShift = 8

// worthSplitting is the number of TCP sockets from which two parallel passes, each over
// half of them, are faster than one.
const worthSplitting = 20_000

// parallel divides a query that makes the kernel show most sockets.
func (d *dumps) parallel(q collectors.Query, total int) []collectors.Query {
	states, _ := q.For(collectors.TCP)
	if len(q.Protocols) != 1 || q.Protocols[0] != collectors.TCP {
		return []collectors.Query{q}
	}
	if total < d.SplitFrom || d.workers < 2 || !states.Has(collectors.Established) {
		return []collectors.Query{q}
	}
	return collectors.SplitAt(q, d.middle)
}

// stream answers the parts of a query at the same time.
func (d *dumps) stream(ctx context.Context, c *Picture, ns *Namespace, source collectors.Plugin, parts []collectors.Query) error {
	found, errs := make([]*pass, len(parts)), make([]error, len(parts))
	var all sync.WaitGroup
	for i, q := range parts[1:] {
		all.Go(func() { found[i+1], errs[i+1] = d.readPast(ctx, c.Wanted, ns, source, q, true) })
	}
	found[0], errs[0] = d.readPast(ctx, c.Wanted, ns, source, parts[0], len(parts) > 1)
	all.Wait()
	if d.Hangs.noteHung(ctx, ns, parts, errs) {
		return errors.Join(errs...) // discard all of it: the second attempt would count sockets twice
	}
	for _, f := range found {
		c.take(f)
	}
	if len(parts) > 1 {
		d.middle = middle(found)
	}
	return errors.Join(errs...)
}

// middle returns the remote port that halves what the passes read.
func middle(found []*pass) uint16 {
	total, below := 0, 0
	for _, f := range found {
		total += f.scanned
	}
	for i := range found[0].remote {
		for _, f := range found {
			below += f.remote[i]
		}
		if below*2 >= total {
			// If half of them share one port, split at the nearer end of its range.
			return uint16(max(1, min((i+1)<<remoteShift, 65535)))
		}
	}
	return usualMiddle
}

// usualMiddle splits the first cycle: on a server most remote ports are ephemeral ones.
const usualMiddle = 40_000

// read streams the answer to a query and keeps what a rule matches or may match.
// It allocates nothing for other sockets and changes nothing in the engine, so that
// several passes can run in parallel, each over its part.
func (d *dumps) read(
	ctx context.Context, w Wanted, ns *Namespace, own *collectors.Namespace, source collectors.Plugin, q collectors.Query, part bool,
	progress *atomic.Uint64,
) (*pass, error) {
	found := &pass{}
	evaluator := w.Program.NewEvaluator()
	var younger []*rules.Evaluator
	for _, later := range w.Younger {
		younger = append(younger, later.NewEvaluator())
	}
	record := collectors.NewRecord(&collectors.Socket{}, own, nil, nil, d.world.Host.Name)
	base := record.Known
	for s, err := range d.world.Sockets.Collect(ctx, &ns.Namespace, source, q) {
		if err != nil {
			return found, err
		}
		if s.NetNS == 0 {
			s.NetNS = ns.Inode
		}
		if part {
			// A source may return too much; another pass covers the rest.
			if k := collectors.KeyOf(s); !q.Covers(&k) {
				continue
			}
		}
		if found.scanned++; found.scanned&63 == 1 { // checking each time is too slow
			progress.Add(1)
		}
		found.byState[s.State&15]++
		found.remote[s.RemotePort>>remoteShift]++
		record.Socket, record.Known = s, base.Or(s.Known)
		if s.IfIndex != 0 && own.Interfaces[s.IfIndex] == "" {
			record.Known.Remove(collectors.Fields(collectors.FieldInterface))
		}
		hits := evaluator.Match(&record)
		later := slices.ContainsFunc(younger, func(y *rules.Evaluator) bool { return len(y.Match(&record)) > 0 })
		if len(hits) > 0 || later {
			if len(hits) == 0 {
				found.beside++
			}
			if w.Most > 0 && found.beside > w.Most {
				return found, ErrTooMany
			}
			cand := found.candidate()
			cand.Socket, cand.NS, cand.Host, cand.Hits, cand.Facts.Age = *s, ns, d.world.Host.Name, found.keepHits(hits), collectors.NoAge()
			cand.younger = later
			found.candidates = append(found.candidates, cand)
		}
	}
	return found, nil
}

// take adds what a pass found, except for sockets that we already have: a dump can show
// one twice.
func (c *Picture) take(found *pass) {
	c.Scanned += found.scanned
	c.beside += found.beside
	for s, n := range found.byState {
		if n > 0 {
			c.ByState[collectors.State(s)] += n
		}
	}
	if c.seen == nil {
		c.seen = make(map[seenKey]bool, len(found.candidates))
	}
	for _, cand := range found.candidates {
		key := seenKey{cand.Socket.NetNS, cand.Socket.Cookie}
		if key.cookie != 0 && c.seen[key] {
			continue
		}
		c.seen[key] = true
		c.Candidates = append(c.Candidates, cand)
	}
}

// collectExtra asks a source other than the kernel. We believe a record only if an exact
// look-up by its cookie confirms it; any other loses its cookie and is only listed.
func (d *dumps) collectExtra(ctx context.Context, c *Picture, source collectors.Plugin) error {
	i := slices.IndexFunc(c.Namespaces, func(n *Namespace) bool { return n.IsOwn() })
	if i < 0 {
		return nil // the source only knows this namespace
	}
	ns := c.Namespaces[i]
	checked := source
	checked.New = func(fd int) collectors.Collector { return confirmed{source.New(fd), d.world.Sockets, &ns.Namespace} }
	return d.stream(ctx, c, ns, checked, []collectors.Query{d.Query(c.Plan)})
}

// confirmed is a collector whose records are looked up in the kernel.
type confirmed struct {
	collectors.Collector
	sockets world.Sockets
	ns      *world.Namespace
}

// Collect yields the kernel's own record where it has one.
func (k confirmed) Collect(ctx context.Context, q collectors.Query) iter.Seq2[*collectors.Socket, error] {
	return func(yield func(*collectors.Socket, error) bool) {
		for s, err := range k.Collector.Collect(ctx, q) {
			if err == nil && s.Cookie != 0 {
				now, errs, failed := k.sockets.LookUp(ctx, k.ns, []*collectors.Socket{s})
				if failed == nil && errs[0] == nil && now[0].State == s.State {
					*s = now[0]
				} else {
					s.Cookie = 0
					s.Known.Remove(collectors.Fields(collectors.FieldCookie))
				}
			}
			if !yield(s, err) {
				return
			}
		}
	}
}
