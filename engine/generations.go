package engine

import (
	"slices"
	"time"

	"sockwarden/engine/look"
	"sockwarden/rules"
)

// starving is how long rules that never stay the same for as long as they must are
// kept out of force.
const starving = 10 * time.Second

// generation is rules as they were read at one time.
type generation struct {
	read    *rules.Program
	judged  *rules.Program // with the lines that a younger one has added to lists
	by      string         // the generation whose lines these are, "" for none
	at      time.Time      // when it was read first
	seen    time.Time      // and when last
	matches *rules.Evaluator
}

// generations are the rules that count, oldest first: those in force, and all that
// were read within the time that they must stay the same for. Something is done only
// if every one of them would do it. Identity, timers and ladders are those of the
// first, so that a file which is away for a moment changes nothing.
type generations struct {
	all       []*generation
	besides   []*generation // those to ask besides the first: each content once
	confirmed time.Time     // when what is in force was read last
	wide      *rules.Program
}

func newGenerations(p *rules.Program, now time.Time) *generations {
	g := &generations{}
	g.only(p, now)
	return g
}

// inForce returns the oldest.
func (g *generations) inForce() *rules.Program { return g.all[0].judged }

// newest returns the youngest, as it was read.
func (g *generations) newest() *rules.Program { return g.all[len(g.all)-1].read }

// only makes rules the only ones.
func (g *generations) only(p *rules.Program, now time.Time) {
	g.all, g.confirmed = []*generation{{read: p, at: now, seen: now}}, now
	g.changed()
}

// add takes rules up that were just read; false if they are those that were read last.
func (g *generations) add(p *rules.Program, now time.Time) bool {
	if p.Generation == g.all[0].read.Generation || len(g.all) == 1 {
		g.confirmed = now
	}
	last := g.all[len(g.all)-1]
	if p.Generation == last.read.Generation {
		last.read, last.seen = p, now // what is being written, and where it lies, can have changed
		g.changed()
		return false
	}
	g.all = append(g.all, &generation{read: p, at: now, seen: now})
	g.changed()
	return true
}

// due is when the oldest may have to go; false if there is only one.
func (g *generations) due() (time.Time, bool) {
	if len(g.all) < 2 {
		return time.Time{}, false
	}
	return g.all[1].at.Add(rules.Settle), true
}

// advance lets go of the oldest as the time of those after it is over, and reports
// whether others are in force now. One that was not seen for as long never was in
// force, unless what is in force was not read again for too long; and what was
// half written never is.
func (g *generations) advance(now time.Time) bool {
	was := g.all[0].read.Generation
	for len(g.all) > 1 && now.Sub(g.all[1].at) >= rules.Settle {
		next := g.all[1]
		fleeting := len(g.all) > 2 && next.seen.Sub(next.at) < rules.Settle && now.Sub(g.confirmed) < starving
		half := len(g.all) > 2 && len(next.read.BeingWritten(g.all[0].read)) > 0
		if fleeting || half {
			g.all = slices.Delete(g.all, 1, 2)
			continue
		}
		g.all = g.all[1:]
		g.confirmed = now
	}
	g.changed()
	return g.all[0].read.Generation != was
}

// changed works out again what follows from which generations there are.
func (g *generations) changed() {
	newest := g.newest()
	for _, old := range g.all {
		judged := old.read
		switch {
		case judged == newest:
			old.by = ""
		case old.by == newest.Generation:
			judged = old.judged
		default:
			judged, old.by = judged.Grown(newest), newest.Generation
		}
		if old.judged != judged {
			old.judged, old.matches = judged, judged.NewEvaluator()
		}
	}
	g.wide, g.besides = nil, nil
	known := map[string]bool{g.all[0].read.Generation: true}
	for _, one := range slices.Backward(g.all[1:]) {
		if !known[one.read.Generation] {
			g.besides = append(g.besides, one)
		}
		known[one.read.Generation] = true
	}
	slices.Reverse(g.besides)
}

// younger returns the generations to ask besides the one in force.
func (k *council) younger() []*generation {
	if k.gens == nil {
		return nil
	}
	return k.gens.besides
}

// plan returns what is to be looked at, so that every generation can be asked.
func (k *council) plan(p *rules.Program) *rules.Program {
	younger := k.younger()
	if len(younger) == 0 {
		return p
	}
	if k.gens.wide == nil {
		others := make([]*rules.Program, len(younger))
		for i, g := range younger {
			others[i] = g.judged
		}
		k.gens.wide = p.Wider(others...)
	}
	return k.gens.wide
}

// strictest is the breaker of all generations.
func (k *council) strictest(b rules.Breaker) rules.Breaker {
	for _, g := range k.younger() {
		b = b.Stricter(g.judged.Breaker)
	}
	return b
}

// wanted is a look for the program in force, so that every generation can be asked.
func (k *council) wanted(p *rules.Program) look.Wanted {
	w := k.wantedOf(p)
	w.Plan = k.plan(p)
	for _, g := range k.younger() {
		w.Younger = append(w.Younger, g.judged)
	}
	return w
}
