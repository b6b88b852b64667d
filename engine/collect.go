package engine

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"

	"sockwarden/collectors"
	"sockwarden/rules"
)

// collect streams one namespace. Only what a rule may match is kept.
func (e *Engine) collect(ctx context.Context, c *cycle, ns *namespace) error {
	fd, closeNS, err := openNS(ns)
	if err != nil {
		return err
	}
	defer closeNS()
	if counts, err := countSockets(ns); err == nil {
		c.report.Summary.SocketsTotal += counts.TCP + counts.UDP
	}
	if c.program.Reads.Has(collectors.FieldInterface) {
		e.nameInterfaces(ns)
	}
	q := c.program.Query
	// The kernel shows MPTCP subflows, which must not be destroyed, only along with tcp_info.
	q.Info = q.Info || e.destroys(c.program)
	var errs error
	for _, part := range collectors.Split(q, len(q.Protocols)) {
		errs = errors.Join(errs, e.collectPart(ctx, c, ns, part, fd))
	}
	return errs
}

// destroys reports whether a rule does something to sockets themselves.
func (e *Engine) destroys(p *rules.Program) bool {
	for _, r := range p.Rules {
		for i := range r.Then {
			plugin, err := e.opts.Actions.Get(r.Then[i].Action)
			if err != nil || !plugin.Harmless && !plugin.OnProcess {
				return true
			}
		}
	}
	return false
}

// collectPart asks one source after the other about one protocol.
func (e *Engine) collectPart(ctx context.Context, c *cycle, ns *namespace, q collectors.Query, fd int) error {
	var refused error
	for i, source := range e.opts.Sources {
		err := e.stream(ctx, c, ns, source.New(fd), q)
		if err == nil && i > 0 {
			c.warn(fmt.Errorf("%w; reading /proc/net instead: ages are unknown and nothing can be acted on", refused))
		}
		if err == nil || (!errors.Is(err, collectors.ErrNotPermitted) && !errors.Is(err, collectors.ErrNotSupported)) {
			return err
		}
		refused = errors.Join(refused, err)
	}
	return refused
}

func (e *Engine) stream(ctx context.Context, c *cycle, ns *namespace, source collectors.Collector, q collectors.Query) error {
	evaluator := c.program.NewEvaluator()
	if c.seen == nil {
		c.seen = map[seenKey]bool{}
	}
	record := collectors.NewRecord(&collectors.Socket{}, &ns.Namespace, nil, nil, e.host)
	base := record.Known
	for s, err := range source.Collect(ctx, q) {
		if err != nil {
			return err
		}
		if s.NetNS == 0 {
			s.NetNS = ns.Inode
		}
		c.report.Summary.Scanned++
		c.report.ByState[s.State]++
		record.Socket, record.Known = s, base|s.Known
		if s.IfIndex != 0 && ns.Interfaces[s.IfIndex] == "" {
			record.Known &^= collectors.Fields(collectors.FieldInterface)
		}
		hits := evaluator.Match(&record)
		if len(hits) == 0 || (s.Cookie != 0 && c.seen[seenKey{s.NetNS, s.Cookie}]) {
			continue
		}
		c.seen[seenKey{s.NetNS, s.Cookie}] = true
		c.candidates = append(c.candidates, &Candidate{Socket: *s, ns: ns, host: e.host, hits: slices.Clone(hits), Facts: collectors.Facts{Age: collectors.NoAge()}})
	}
	return nil
}

// collectExtra asks a source that is not the kernel. What it says of a socket is
// believed only as far as an exact look-up by the cookie confirms it; without
// that the record has no cookie, and is only listed.
func (e *Engine) collectExtra(ctx context.Context, c *cycle, source collectors.Plugin) error {
	i := slices.IndexFunc(c.namespaces, func(n *namespace) bool { return n.open == nil })
	if i < 0 {
		return nil // it is about this namespace
	}
	return e.stream(ctx, c, c.namespaces[i], confirmed{source.New(-1)}, c.program.Query)
}

// confirmed is a collector whose records are looked up in the kernel.
type confirmed struct{ collectors.Collector }

// Collect yields the kernel's own record where it has one.
func (k confirmed) Collect(ctx context.Context, q collectors.Query) iter.Seq2[*collectors.Socket, error] {
	return func(yield func(*collectors.Socket, error) bool) {
		for s, err := range k.Collector.Collect(ctx, q) {
			if err == nil && s.Cookie != 0 {
				now, getErr := lookUp(ctx, -1, s)
				if getErr == nil && now.State == s.State {
					*s = now
				} else {
					s.Cookie = 0
					s.Known &^= collectors.Fields(collectors.FieldCookie)
				}
			}
			if !yield(s, err) {
				return
			}
		}
	}
}
