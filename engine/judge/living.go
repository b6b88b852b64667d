package judge

import (
	"context"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/catalog"
	"sockwarden/engine/look"
	"sockwarden/rules"
)

// DeadAfter is how long a closing connection must have been in its state and moved no data
// before the breaker takes it for dead.
const DeadAfter = 60 * time.Second

// Dead reports whether evidence shows that a socket is dead: nobody can miss it, however
// many there are. If anything is unknown it counts as living.
func (b *Breaker) Dead(c *look.Candidate) bool {
	s := &c.Socket
	held := s.Inode != 0 || len(c.Facts.Owners) > 0 || !s.Known.Has(collectors.FieldOwned)
	if s.Protocol != collectors.TCP {
		return false
	}
	switch s.State { //nolint:exhaustive // all others live
	case collectors.TimeWait, collectors.FinWait2:
		return !held
	case collectors.CloseWait:
		return b.lifeless(c, 0)
	case collectors.LastAck, collectors.Closing:
		return b.lifeless(c, 1)
	case collectors.FinWait1:
		return !held && b.lifeless(c, 1)
	}
	return false
}

// lifeless reports whether a socket has provably been in its state for long without moving
// data, with nothing unacknowledged but its FIN, if it has sent one (fin is 1).
func (b *Breaker) lifeless(c *look.Candidate, fin uint32) bool {
	s, limit := &c.Socket, b.DeadAfter.Seconds()
	if !s.Known.Has(collectors.FieldIdle) || !s.Known.Has(collectors.FieldSendQueue) || c.Facts.Age.Source == collectors.AgeNone {
		return false
	}
	r := c.Record()
	return s.SendQueue <= fin && c.Facts.Age.Min >= limit && collectors.FieldIdle.Doc().Num(&r) >= limit
}

// toll is what a cycle would act on, as the breaker counts it: each living socket once, each
// process or unit once, however many of its sockets match, and what would die with it.
type toll struct {
	living int
	dead   int // targets that do not count
	byRule map[*rules.Rule]int

	sockets   map[look.Endpoint]bool
	processes map[string]bool
}

// toll counts findings that would be acted on.
func (b *Breaker) toll(ctx context.Context, c *Cycle, found []*Case) *toll {
	t := &toll{byRule: map[*rules.Rule]int{}, sockets: map[look.Endpoint]bool{}, processes: map[string]bool{}}
	for _, f := range found {
		first, plugin := effective(f.Rule)
		counted := false // a target counts once, even if several rungs act on it
		switch {
		case plugin.OnProcess():
		case b.Dead(f.Candidate):
			t.dead++
		default:
			counted = true
			t.socket(f.Rule, look.Endpoint{Netns: f.NS.Inode, Cookie: f.Socket.Cookie})
		}
		for i := range f.Rule.Then {
			rung := &f.Rule.Then[i]
			plugin := catalog.Bound(rung)
			if !plugin.OnProcess() || plugin.Harmless || rung != first && !mayFollow(f, rung) {
				continue
			}
			owners := f.Processes(plugin)
			for k := range owners {
				b.process(ctx, c, t, f, &owners[k], plugin, counted, rung == first || rung.ReadsResult())
			}
			counted = true
		}
	}
	return t
}

// mayFollow reports whether a later rung can act on a finding.
func mayFollow(f *Case, rung *rules.Rung) bool {
	return rung.If == nil || f.Eval(rung.If) != rules.False
}

// process counts the target of an action on a process. With collateral, for a rung that is
// meant to act and not just a fallback, it also counts what would die.
func (b *Breaker) process(ctx context.Context, c *Cycle, t *toll, f *Case, o *collectors.Owner, plugin *actions.Bound, counted, collateral bool) {
	key := look.TargetKey(o, plugin.Plugin)
	if !counted && !t.processes[key] {
		t.processes[key] = true
		t.add(f.Rule)
	}
	if all := "collateral of " + key; collateral && !t.processes[all] {
		t.processes[all] = true
		for _, end := range b.harms.Of(ctx, c.Picture, f.Candidate, o, plugin).Connections {
			t.socket(f.Rule, end)
		}
	}
}

func (t *toll) socket(r *rules.Rule, end look.Endpoint) {
	if end.Cookie != 0 && t.sockets[end] {
		return
	}
	t.sockets[end] = true
	t.add(r)
}

func (t *toll) add(r *rules.Rule) {
	t.living++
	t.byRule[r]++
}

// most is the rule with the most living targets, the first of several; nil if there are
// none.
func (t *toll) most(all []*rules.Rule) *rules.Rule {
	var most *rules.Rule
	for _, r := range all {
		if t.byRule[r] > t.byRule[most] {
			most = r
		}
	}
	return most
}
