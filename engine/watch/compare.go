package watch

import (
	"context"
	"time"

	"sockwarden/rules"
)

// comparing is what a watcher knows of the difference that newer rules make.
type comparing struct {
	pair string // the generations that were compared last, "" for none
	text string // for which sockets they differ, "" for none
	// late are the rules that newer ones have replaced before they were compared, nil for
	// none: the next cycle looks at what they are about, too.
	late *rules.Program
	last time.Time // when they were compared, and how long it took
	took time.Duration
}

func pairOf(was, now *rules.Program) string { return was.Generation + " " + now.Generation }

// compare finds out, after a cycle and by what that has seen, for which sockets newer rules
// differ from those in force. It takes a tenth of the time at most.
func (w *watcher) compare(ctx context.Context) {
	c := &w.compared
	was, now := w.gens().InForce(), w.gens().Newest()
	if c.late != nil {
		was, now = c.late, was
	}
	switch {
	case was.Generation == now.Generation:
		w.compareLater(nil)
		return
	case c.pair == pairOf(was, now), w.World.Now().Sub(c.last) < 10*c.took:
		return
	}
	began := w.World.Now()
	text, ok := w.Compare(ctx, was, now)
	if !ok {
		return // the cycle did not look at all that they are about
	}
	c.pair, c.text, c.last, c.took = pairOf(was, now), text, began, w.World.Now().Sub(began)
	if c.late != nil {
		w.compareLater(nil)
		w.sayDifference(was, now)
	}
}

// compareLater has the next cycle look wide enough to compare rules with those in force; nil
// for none.
func (w *watcher) compareLater(was *rules.Program) {
	w.compared.late, w.Judge.Council.Before = was, was
}

// sayDifference says for which sockets rules that have come into force differ, as soon as
// that is known.
func (w *watcher) sayDifference(was, now *rules.Program) {
	switch {
	case w.compared.pair != pairOf(was, now):
		w.compareLater(was)
	case w.compared.text == "":
		w.Log.Debug("reload: no fate differs", "generation", now.Short())
	default:
		w.Log.Info("reload: "+w.compared.text, "generation", now.Short())
	}
}
