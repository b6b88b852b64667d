package look

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine/memory"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// Look collects the candidates of programs, and what their conditions read about them:
// ages, owners, listeners.
func (k *Looker) Look(ctx context.Context, w Wanted) (*Picture, error) {
	c := &Picture{Wanted: w, Moments: Moments{Began: k.world.Now()}, Counts: Counts{ByState: map[collectors.State]int{}}}
	for _, err := range k.world.Gaps {
		c.fail(err)
	}
	for _, err := range k.world.Notes {
		c.warn(err)
	}
	k.Ages.NoteStates(w)
	k.Dumps.Hangs.NoticeReturns()
	if err := k.findNamespaces(ctx, c); err != nil {
		return nil, err
	}
	c.Looked = k.world.Mono()
	if err := k.Dumps.all(ctx, c); err != nil {
		return nil, err
	}
	c.Now, c.Ended = k.world.Mono(), k.world.Now()
	for _, cand := range c.Candidates {
		if cand.Socket.IfIndex != 0 {
			k.Dumps.nameInterfaces(cand.NS)
		}
	}
	k.findGone(c)
	k.findAges(c)
	k.findListeners(ctx, c)
	if err := k.findOwners(ctx, c); err != nil {
		c.fail(err)
	}
	for _, err := range k.world.Processes.Hanging() {
		c.warn(err)
	}
	c.keep(func(cand *Candidate, rule *rules.Rule) bool { return cand.Eval(rule.When) != rules.False })
	k.completeRecords(ctx, c)
	c.sort()
	return c, nil
}

// sort puts the oldest first.
func (c *Picture) sort() {
	slices.SortFunc(c.Candidates, func(a, b *Candidate) int {
		return cmp.Or(-cmp.Compare(coarse(a.Facts.Age.Min), coarse(b.Facts.Age.Min)), cmp.Compare(a.Socket.Cookie, b.Socket.Cookie),
			cmp.Compare(a.Socket.LocalPort, b.Socket.LocalPort), cmp.Compare(a.Socket.RemotePort, b.Socket.RemotePort))
	})
}

// keep drops the rules that cannot match a candidate, and the candidates that no rule can
// match.
func (c *Picture) keep(may func(cand *Candidate, rule *rules.Rule) bool) {
	kept := c.Candidates[:0]
	for _, cand := range c.Candidates {
		cand.Hits = slices.DeleteFunc(cand.Hits, func(i int) bool { return !may(cand, c.Program.Rules[i]) })
		if len(cand.Hits) > 0 || cand.younger {
			kept = append(kept, cand)
		}
	}
	clear(c.Candidates[len(kept):])
	c.Candidates = kept
}

// findAges proves what it can about the candidates' ages, drops the candidates that no
// rule can match any more, and remembers those whose age matters.
func (k *Looker) findAges(c *Picture) {
	for _, cand := range c.Candidates {
		k.findAge(c, cand)
		k.findStalled(c, cand)
	}
	c.keep(func(cand *Candidate, rule *rules.Rule) bool {
		if !rule.ReadsAge() || !c.falseByAge(cand, rule) {
			return true
		}
		if k.Horizon == 0 { // a watcher's reports show no notes
			c.young(cand, rule)
		}
		return false
	})
}

// findAge proves what it can about one of them.
func (k *Looker) findAge(c *Picture, cand *Candidate) {
	key, mk := collectors.KeyOf(&cand.Socket), memory.MarkOf(&cand.Socket, c.Looked, c.Now)
	if cand.Blind || isNameless(&cand.Socket) {
		cand.SetAge(collectors.NoAge()) // nothing could contradict an observation
		return
	}
	if !c.ageDecides(cand) {
		know := k.memory.Recall
		if c.weighs(cand) || c.stalls(cand) {
			know = k.memory.Observe
		}
		cand.SetAge(know(key, mk, k.Ages.Shown(&cand.Socket, c.Now), c.Looked, c.Now))
		cand.Since = k.memory.Since(key)
		return
	}
	shown := k.Ages.evidence(&cand.Socket)
	if k.Ages.Events != nil && !c.tooYoung(cand, shown, k.Horizon) {
		shown = k.Ages.Shown(&cand.Socket, c.Now)
	}
	cand.SetAge(k.memory.Observe(key, mk, shown, c.Looked, c.Now))
	cand.Since = k.memory.Since(key)
	c.ripens(cand)
}

// isNameless reports whether a connection of MPTCP cannot be told from the next one of its
// descriptor, as its token is not known.
func isNameless(s *collectors.Socket) bool {
	return s.Protocol == collectors.MPTCP && s.State != collectors.Listen && s.Token == 0
}

// tooYoung reports whether the evidence rules out that any rule takes the socket before
// the next cycle.
func (c *Picture) tooYoung(cand *Candidate, shown collectors.Age, next time.Duration) bool {
	if !shown.Bounded || cand.younger {
		return false
	}
	shown.Max += next.Seconds()
	cand.SetAge(shown)
	return !slices.ContainsFunc(cand.Hits, func(i int) bool {
		rule := c.Program.Rules[i]
		// A socket that moves data now may be still by then.
		return !rule.ReadsAge() || c.evalByAge(cand, rule.When.EvalOnceIdle) != rules.False
	})
}

func (c *Picture) ageDecides(cand *Candidate) bool {
	return cand.younger || slices.ContainsFunc(cand.Hits, func(i int) bool { return c.Remembers[i] || c.Program.Rules[i].ReadsAge() })
}

// weighs reports whether the breaker counts a candidate by its age, which then needs a
// proof even if no rule reads it.
func (c *Picture) weighs(cand *Candidate) bool {
	return closing.Has(cand.Socket.State) && cand.Socket.Protocol == collectors.TCP &&
		slices.ContainsFunc(cand.Hits, func(i int) bool { return c.Weighs[i] })
}

// falseByAge reports whether the age already makes the rule's condition false, without
// the costly fields.
func (c *Picture) falseByAge(cand *Candidate, rule *rules.Rule) bool {
	return c.evalByAge(cand, rule.When.Eval) == rules.False
}

func (c *Picture) evalByAge(cand *Candidate, eval func(*collectors.Record) rules.Tri) rules.Tri {
	facts := cand.Facts
	r := collectors.NewRecord(&cand.Socket, &cand.NS.Namespace.Namespace, &facts, nil, cand.Host)
	return eval(&r)
}

// completeRecords looks the remaining candidates up one by one if no condition reads
// tcp_info, so that the dump was without it. Their ages are shown, and put the oldest
// first; and only with tcp_info does the kernel show which sockets are subflows of MPTCP,
// which we must leave alone.
func (k *Looker) completeRecords(ctx context.Context, c *Picture) {
	if k.Dumps.Query(c.Plan).Fields.Meets(collectors.InfoFields()) {
		return
	}
	byNS := map[*Namespace][]*Candidate{}
	for _, cand := range c.Candidates {
		if cand.Socket.Protocol.Connects() && cand.Socket.Cookie != 0 {
			byNS[cand.NS] = append(byNS[cand.NS], cand)
		}
	}
	for ns, cands := range byNS {
		if err := k.Dumps.completeAll(ctx, c, ns, cands); err != nil {
			c.lacks(ns, err, fmt.Errorf("namespace %s: %w", ns.Name, err))
		}
		now := k.world.Mono()
		for _, cand := range cands {
			if cand.Blind || isNameless(&cand.Socket) {
				cand.SetAge(collectors.NoAge())
				continue
			}
			shown := k.Ages.Shown(&cand.Socket, c.Now)
			if shown.Source != collectors.AgeEvent {
				shown.Min = math.Floor(max(0, shown.Min-(now-c.Now))*1000) / 1000 // when the others were seen
			}
			cand.SetAge(k.memory.Recall(collectors.KeyOf(&cand.Socket), memory.MarkOf(&cand.Socket, c.Now, now), shown, c.Looked, c.Now))
		}
	}
}

// findOwners finds the holders of the remaining candidates and of their listeners, in one
// walk through /proc.
func (k *Looker) findOwners(ctx context.Context, c *Picture) error {
	inodes := make(map[uint32]bool, len(c.Candidates))
	for _, cand := range c.Candidates {
		if cand.Socket.Inode != 0 {
			inodes[cand.Socket.Inode] = true
		}
		for _, l := range listenersWanted(c, cand) {
			inodes[l.Inode] = true
		}
	}
	began := k.world.Now()
	ends := k.findEnds(ctx, c)
	ends.inodes(inodes)
	out := k.askOutside(ctx, c, inodes)
	holders, err := k.world.Owners.Holders(ctx, inodes)
	if err != nil {
		return fmt.Errorf("owners of sockets: %w", err)
	}
	asked := k.world.Now()
	k.Asking, c.Unreadable = asked.Sub(began), holders.Unreadable
	hides := k.hides(ctx, c, out, &holders)
	for _, cand := range c.Candidates {
		cand.Facts.Complete, cand.OwnersAt = true, asked
		// If we cannot examine some processes, one of those may hold it too.
		if cand.Hidden = hides[cand.NS]; provenHolders(&holders, c, cand) {
			cand.Hidden = ""
		}
		cand.Facts.OthersHidden = cand.Hidden != ""
		if owners := holders.ByInode[cand.Socket.Inode]; cand.Socket.Inode != 0 && len(owners) > 0 {
			cand.Facts.Owners = owners
			if !cand.Facts.OthersHidden {
				cand.Facts.Known.Add(collectors.Fields(collectors.FieldOwners))
			}
		}
		k.setListener(c, cand, &holders)
	}
	ends.setPeers(k.world, &holders, hides)
	k.nameContainers(ctx, c)
	k.findCgroups(c)
	for _, cand := range c.Candidates {
		k.tell(cand)
	}
	return nil
}

// tell lets a world that somebody made up say what nobody can find out there.
func (k *Looker) tell(cand *Candidate) {
	if k.world.Invented != nil && !cand.NoSocket() {
		k.world.Invented.Tell(&cand.Socket, &cand.Facts)
	}
}

// provenHolders reports whether we know for certain that no unseen process holds the
// candidate, or its listeners if it waits for accept.
func provenHolders(o *world.Ownership, c *Picture, cand *Candidate) bool {
	if !Waits(&cand.Socket) {
		return o.Proven[cand.Socket.Inode]
	}
	wanted := listenersWanted(c, cand)
	return len(wanted) > 0 && !slices.ContainsFunc(wanted, func(l *collectors.Socket) bool { return !o.Proven[l.Inode] })
}

// coarse rounds an age to the grain of the kernel's stamps, so that the sockets of one
// burst keep their order from cycle to cycle.
func coarse(seconds float64) float64 { return math.Floor(seconds * 50) }
