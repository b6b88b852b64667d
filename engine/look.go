package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// look collects the candidates of a program and finds out what its conditions
// read: ages, owners, listeners.
func (e *Engine) look(ctx context.Context, p *rules.Program) (*cycle, error) {
	mode := "dry-run"
	if e.opts.Live {
		mode = "live"
	}
	c := &cycle{program: p, plan: e.plan(p), began: e.now(), report: &Report{
		Mode: mode, Files: p.Files, Generation: p.Generation, Started: e.now(), ByState: map[collectors.State]int{},
	}}
	e.noteStates(p)
	e.noticeReturns()
	if err := e.findNamespaces(c); err != nil {
		return nil, err
	}
	failed := 0
	c.looked = e.mono()
	for _, ns := range c.namespaces {
		if err := e.collect(ctx, c, ns); err != nil {
			if ctx.Err() != nil {
				return nil, fmt.Errorf("look at sockets: %w", context.Cause(ctx))
			}
			failed++
			c.notLookedInto(ns, err)
		}
	}
	for _, source := range e.opts.Extra {
		if err := e.collectExtra(ctx, c, source); err != nil {
			c.fail(err)
		}
	}
	if failed == len(c.namespaces) && failed > 0 && c.report.Summary.Scanned == 0 {
		return nil, fmt.Errorf("%w: %w", errNothingSeen, errors.Join(c.report.Errors...))
	}
	c.now, c.ended = e.mono(), e.now()
	for _, cand := range c.candidates {
		if cand.Socket.IfIndex != 0 {
			e.nameInterfaces(cand.ns)
		}
	}
	e.findAges(c)
	e.findListeners(ctx, c)
	if err := e.findOwners(ctx, c); err != nil {
		c.fail(err)
	}
	for _, err := range e.world.Processes.Hanging() {
		c.warn(err)
	}
	c.keep(func(cand *Candidate, rule *rules.Rule) bool { return cand.eval(rule.When) != rules.False })
	e.completeRecords(ctx, c)
	slices.SortFunc(c.candidates, func(a, b *Candidate) int {
		return cmp.Or(-cmp.Compare(coarse(a.Facts.Age.Min), coarse(b.Facts.Age.Min)), cmp.Compare(a.Socket.Cookie, b.Socket.Cookie),
			cmp.Compare(a.Socket.LocalPort, b.Socket.LocalPort), cmp.Compare(a.Socket.RemotePort, b.Socket.RemotePort))
	})
	return c, nil
}

// keep drops the rules that a candidate is not for, and the candidates that no
// rule is for.
func (c *cycle) keep(may func(cand *Candidate, rule *rules.Rule) bool) {
	kept := c.candidates[:0]
	for _, cand := range c.candidates {
		cand.hits = slices.DeleteFunc(cand.hits, func(i int) bool { return !may(cand, c.program.Rules[i]) })
		if len(cand.hits) > 0 || cand.younger {
			kept = append(kept, cand)
		}
	}
	clear(c.candidates[len(kept):])
	c.candidates = kept
}

// findAges proves what it can about the candidates' ages, drops those that no
// rule can match any more, and remembers those whose age decides.
func (e *Engine) findAges(c *cycle) {
	e.findNeeds(c)
	for _, cand := range c.candidates {
		key, mk := collectors.KeyOf(&cand.Socket), markOf(&cand.Socket, c.looked, c.now)
		if cand.blind {
			cand.setAge(collectors.NoAge()) // what could contradict an observation does not show
			continue
		}
		if !c.ageDecides(cand) {
			know := e.memory.recall
			if e.weighs(c, cand) {
				know = e.memory.observe
			}
			cand.setAge(know(key, mk, e.shownAge(&cand.Socket, c.now), c.looked, c.now))
			cand.since = e.memory.since(key)
			continue
		}
		shown := evidence(&cand.Socket)
		if e.events != nil && !c.tooYoung(cand, shown, e.horizon) {
			shown = e.shownAge(&cand.Socket, c.now)
		}
		cand.setAge(e.memory.observe(key, mk, shown, c.looked, c.now))
		cand.since = e.memory.since(key)
		c.ripens(cand)
	}
	c.keep(func(cand *Candidate, rule *rules.Rule) bool { return !rule.ReadsAge() || !c.falseByAge(cand, rule) })
}

// tooYoung reports whether the evidence says that no rule takes the socket before
// the next cycle.
func (c *cycle) tooYoung(cand *Candidate, shown collectors.Age, next time.Duration) bool {
	if !shown.Bounded || cand.younger {
		return false
	}
	shown.Max += next.Seconds()
	cand.setAge(shown)
	return !slices.ContainsFunc(cand.hits, func(i int) bool {
		rule := c.program.Rules[i]
		// What still moves may not until then.
		return !rule.ReadsAge() || c.evalByAge(cand, rule.When.EvalOnceIdle) != rules.False
	})
}

func (c *cycle) ageDecides(cand *Candidate) bool {
	return cand.younger || slices.ContainsFunc(cand.hits, func(i int) bool { return c.remembers[i] || c.program.Rules[i].ReadsAge() })
}

// falseByAge reports whether the rule's condition is false now that the age is
// known but the costly fields are not.
func (c *cycle) falseByAge(cand *Candidate, rule *rules.Rule) bool {
	return c.evalByAge(cand, rule.When.Eval) == rules.False
}

func (c *cycle) evalByAge(cand *Candidate, eval func(*collectors.Record) rules.Tri) rules.Tri {
	facts := cand.Facts
	r := collectors.NewRecord(&cand.Socket, &cand.ns.Namespace.Namespace, &facts, nil, cand.host)
	return eval(&r)
}

// completeRecords looks up what is left of the candidates if their dump was without
// tcp_info, as no condition reads it: for their ages, which are shown and by which
// the oldest come first, and since only along with it the kernel shows the subflows
// of MPTCP, which must be left alone.
func (e *Engine) completeRecords(ctx context.Context, c *cycle) {
	if e.query(c.wants()).Info {
		return
	}
	byNS := map[*namespace][]*Candidate{}
	for _, cand := range c.candidates {
		if cand.Socket.Protocol == collectors.TCP && cand.Socket.Cookie != 0 {
			byNS[cand.ns] = append(byNS[cand.ns], cand)
		}
	}
	for ns, cands := range byNS {
		if err := e.completeAll(ctx, c, ns, cands); err != nil {
			c.fail(fmt.Errorf("namespace %s: %w", ns.Name, err))
		}
		now := e.mono()
		for _, cand := range cands {
			if cand.blind {
				cand.setAge(collectors.NoAge())
				continue
			}
			shown := e.shownAge(&cand.Socket, c.now)
			if shown.Source != collectors.AgeEvent {
				shown.Min = math.Floor(max(0, shown.Min-(now-c.now))*1000) / 1000 // when the others were seen
			}
			cand.setAge(e.memory.recall(collectors.KeyOf(&cand.Socket), markOf(&cand.Socket, c.now, now), shown, c.looked, c.now))
		}
	}
}

// findOwners looks up who holds the candidates that are left, and the
// listeners that they belong to, in one walk through /proc.
func (e *Engine) findOwners(ctx context.Context, c *cycle) error {
	inodes := make(map[uint32]bool, len(c.candidates))
	for _, cand := range c.candidates {
		if cand.Socket.Inode != 0 {
			inodes[cand.Socket.Inode] = true
		}
		for _, l := range listenersWanted(c, cand) {
			inodes[l.Inode] = true
		}
	}
	out := e.askOutside(ctx, c, inodes)
	began := e.now()
	holders, err := e.world.Owners.Holders(ctx, inodes)
	if err != nil {
		return fmt.Errorf("owners of sockets: %w", err)
	}
	asked := e.now()
	e.asking = asked.Sub(began)
	hides := e.hides(ctx, c, out, &holders)
	for _, cand := range c.candidates {
		cand.Facts.Complete, cand.ownersAt = true, asked
		// Where some processes cannot be examined, one more of them may hold it.
		if cand.hidden = hides[cand.ns]; provenHolders(&holders, c, cand) {
			cand.hidden = ""
		}
		cand.Facts.OthersHidden = cand.hidden != ""
		if owners := holders.ByInode[cand.Socket.Inode]; cand.Socket.Inode != 0 && len(owners) > 0 {
			cand.Facts.Owners = owners
			if !cand.Facts.OthersHidden {
				cand.Facts.Known |= collectors.Fields(collectors.FieldOwners)
			}
		}
		e.setListener(c, cand, &holders)
	}
	return nil
}

// provenHolders reports whether it is known of a candidate, or of its listeners if it
// waits for those, that nobody has it who cannot be seen.
func provenHolders(o *world.Ownership, c *cycle, cand *Candidate) bool {
	if !waits(&cand.Socket) {
		return o.Proven[cand.Socket.Inode]
	}
	wanted := listenersWanted(c, cand)
	return len(wanted) > 0 && !slices.ContainsFunc(wanted, func(l *collectors.Socket) bool { return !o.Proven[l.Inode] })
}

// coarse takes the grain of the kernel's stamps out of an age, so that sockets
// of one burst keep their order from cycle to cycle.
func coarse(seconds float64) float64 { return math.Floor(seconds * 50) }
