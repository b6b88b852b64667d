package judge

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sockwarden/engine/look"
	"sockwarden/rules"
)

// starving is how long rules that keep changing stay out of force.
const starving = 10 * time.Second

// Generation is the rules as read at one time.
type Generation struct {
	Read    *rules.Program
	judged  *rules.Program // with the lines that a younger one has added to lists
	by      string         // the generation whose lines these are, "" for none
	at      time.Time      // when we first read it
	seen    time.Time      // and when last
	matches *rules.Evaluator
}

// Generations are the rules that count, oldest first: those in force, and all that we have
// read within the time for which rules must stay the same. The engine acts only if every
// one of them would. Identity, timers and ladders belong to the first, so that a file that
// is missing for a moment changes nothing.
type Generations struct {
	All       []*Generation
	confirmed time.Time // when we last read the rules in force
	besides   atomic.Pointer[besides]
}

// besides are the generations to ask apart from the first, each content once, as they count
// at one time. They never change: last looks ask them beside each other, and one of these
// may read newer rules meanwhile.
type besides struct {
	younger []younger

	planning sync.Mutex
	wide     map[*rules.Program]*rules.Program // by the program that was widened
}

// younger is a generation to ask, with the rules and the evaluator that count now.
type younger struct {
	*Generation
	judged  *rules.Program
	matches *rules.Evaluator
}

// NewGenerations begins with one generation, which is in force.
func NewGenerations(p *rules.Program, now time.Time) *Generations {
	g := &Generations{}
	g.Only(p, now)
	return g
}

// InForce returns the oldest.
func (g *Generations) InForce() *rules.Program { return g.All[0].judged }

// Newest returns the youngest, as read.
func (g *Generations) Newest() *rules.Program { return g.All[len(g.All)-1].Read }

// Only drops all generations and puts these rules in force.
func (g *Generations) Only(p *rules.Program, now time.Time) {
	g.All, g.confirmed = []*Generation{{Read: p, at: now, seen: now}}, now
	g.changed()
}

// Add adds rules that were just read; false if they equal the newest.
func (g *Generations) Add(p *rules.Program, now time.Time) bool {
	if p.Generation == g.All[0].Read.Generation || len(g.All) == 1 {
		g.confirmed = now
	}
	last := g.All[len(g.All)-1]
	if p.Generation == last.Read.Generation {
		last.Read, last.seen = p, now // its places, and which files are being written, may have changed
		g.changed()
		return false
	}
	g.All = append(g.All, &Generation{Read: p, at: now, seen: now})
	g.changed()
	return true
}

// Due is when the oldest may end; false if there is only one.
func (g *Generations) Due() (time.Time, bool) {
	if len(g.All) < 2 {
		return time.Time{}, false
	}
	return g.All[1].at.Add(rules.Settle), true
}

// Advance drops the oldest when a later generation has stayed for its time, and reports
// whether other rules are in force now. A generation that did not stay that long is never
// in force, unless too long has passed without a reading of the rules in force. Half
// written rules are never in force.
func (g *Generations) Advance(now time.Time) bool {
	was := g.All[0].Read.Generation
	for len(g.All) > 1 && now.Sub(g.All[1].at) >= rules.Settle {
		next := g.All[1]
		fleeting := len(g.All) > 2 && next.seen.Sub(next.at) < rules.Settle && now.Sub(g.confirmed) < starving
		half := len(g.All) > 2 && len(next.Read.BeingWritten(g.All[0].Read)) > 0
		if fleeting || half {
			g.All = slices.Delete(g.All, 1, 2)
			continue
		}
		g.All = g.All[1:]
		g.confirmed = now
	}
	g.changed()
	return g.All[0].Read.Generation != was
}

// changed updates what depends on the set of generations.
func (g *Generations) changed() {
	newest := g.Newest()
	for _, old := range g.All {
		judged := old.Read
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
	now := &besides{wide: map[*rules.Program]*rules.Program{}}
	known := map[string]bool{g.All[0].Read.Generation: true}
	for _, one := range slices.Backward(g.All[1:]) {
		if !known[one.Read.Generation] {
			now.younger = append(now.younger, younger{one, one.judged, one.matches})
		}
		known[one.Read.Generation] = true
	}
	slices.Reverse(now.younger)
	g.besides.Store(now)
}

// younger returns the generations to ask apart from the one in force.
func (k *council) younger() []younger {
	if k.Gens == nil {
		return nil
	}
	return k.Gens.besides.Load().younger
}

// Plan returns a look that is wide enough for every generation. It is safe for concurrent
// use.
func (k *council) Plan(p *rules.Program) *rules.Program {
	if k.Gens == nil {
		return k.quiet.plan(p)
	}
	return k.quiet.plan(k.Gens.besides.Load().plan(p))
}

func (b *besides) plan(p *rules.Program) *rules.Program {
	if len(b.younger) == 0 {
		return p
	}
	b.planning.Lock()
	defer b.planning.Unlock()
	if b.wide[p] == nil {
		others := make([]*rules.Program, len(b.younger))
		for i, g := range b.younger {
			others[i] = g.judged
		}
		b.wide[p] = p.Wider(others...)
	}
	return b.wide[p]
}

// strictest is the strictest breaker of all generations.
func (k *council) strictest(b rules.Breaker) rules.Breaker {
	for _, g := range k.younger() {
		b = b.Stricter(g.judged.Breaker)
	}
	return b
}

// Wanted is a look for the program in force that is wide enough for every generation.
func (k *council) Wanted(p *rules.Program) look.Wanted {
	k.quiet.note()
	w := k.wantedOf(p)
	w.Plan = k.Plan(p)
	for _, g := range k.younger() {
		w.Younger = append(w.Younger, g.judged)
	}
	if k.Before != nil {
		w.Plan, w.Younger = w.Plan.Wider(k.Before), append(w.Younger, k.Before)
	}
	return w
}

// Compares reports whether a look is for more rules than those in force.
func (k *council) Compares() bool { return k.Before != nil || len(k.younger()) > 0 }
