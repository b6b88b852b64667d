package watch

import (
	"context"
	"errors"
	"time"

	"sockwarden/engine/judge"
	"sockwarden/rules"
)

const (
	// writerPoll is how often we check whether a file is still open for writing.
	writerPoll = 500 * time.Millisecond
	// maxLogged is how many problems of rules are logged; rules check shows more.
	maxLogged = 5
	// lookAgainAfter is the least time between two readings in the middle of a cycle.
	lookAgainAfter = 50 * time.Millisecond
)

// reader is what a watcher remembers about reading its rules.
type reader struct {
	rejected string    // the last error that the log reported
	last     time.Time // when they were read
	took     time.Duration
	stale    bool // something has happened since
	behind   bool // and the loop does not know it yet
	polled   bool // no events announce changes, and the log says so
	timer    *time.Timer
	armed    time.Time // for when the timer is set

	awaited map[string]time.Time // files being written, since when
	warned  map[string]bool      // those the log has named
	again   time.Time            // when to check again whether they still are
}

// settles is a channel that gets a value when the time of a younger generation is over.
func (r *reader) settles(g *judge.Generations, now time.Time) <-chan time.Time {
	at, ok := g.Due()
	if !ok {
		return nil
	}
	at = later(at, r.again)
	if r.timer == nil {
		r.timer = time.NewTimer(at.Sub(now))
	} else if !at.Equal(r.armed) {
		r.timer.Reset(at.Sub(now))
	}
	r.armed = at
	return r.timer.C
}

// load reads the rules as they are now.
func (w *watcher) load() (*rules.Program, error) {
	began := w.World.Now()
	p, watched, err := w.opts.Load()
	w.reader.last, w.reader.took, w.reader.stale = w.World.Now(), w.World.Now().Sub(began), false
	w.watchFiles(watched)
	return p, err
}

func (w *watcher) watchFiles(paths []string) {
	err := w.files.Set(paths)
	switch {
	case err != nil && !w.reader.polled:
		w.Log.Warn("the kernel does not report changes of rules, looking for them instead", "every", poll, "error", err)
	case err != nil:
		w.Log.Debug("changes of rules are only looked for", "every", poll, "error", err)
	case w.reader.polled:
		w.Log.Info("changes of rules are told again")
	}
	w.reader.polled = err != nil
	if w.files.Renewed() { // events in the meantime were lost
		w.reader.behind, w.reader.stale = true, true
	}
}

// reload reads the rules. New ones have a say at once, and are in force alone when nothing
// has changed for a while, or at once if forced.
func (w *watcher) reload(ctx context.Context, forced bool) (changed bool) {
	p, err := w.load()
	if err != nil {
		w.reject(err, forced)
		return false
	}
	wasRejected := w.reader.rejected != ""
	w.reader.rejected = ""
	if wasRejected {
		w.shown.accepted(w.World.Now(), false)
	}
	was, newest := w.gens().All[0].Read, w.gens().Newest()
	if forced {
		w.gens().Only(p, w.World.Now())
		w.reader.awaited = nil
		w.shown.accepted(w.World.Now(), true)
		w.cancelLadders(ctx)
		if p.Generation == was.Generation {
			w.Log.Info("rules unchanged", "generation", p.Short())
		} else {
			w.tellReload(was, p)
		}
		return true
	}
	if !w.gens().Add(p, w.World.Now()) {
		if len(w.gens().All) == 1 {
			w.reader.awaited = nil // what was being written came to nothing
		}
		if wasRejected {
			w.Log.Info("rules are valid again, and unchanged", "generation", p.Short())
		}
		return false
	}
	w.cancelLadders(ctx)
	c := p.Diff(newest)
	log := w.Log.Info
	if len(c.Added)+len(c.Changed)+len(c.Removed)+len(c.ProtectRemoved) == 0 && p.Generation != was.Generation {
		log = w.Log.Debug
	}
	log("rules changed, in force when they stay so", "generation", p.Short(), "was", newest.Short(), "after", rules.Settle,
		"changed", c.Changed, "added", c.Added, "removed", c.Removed, "protect_removed", c.ProtectRemoved, "sets", c.Sets)
	return true
}

// takeOver puts rules in force whose time has come. Before that it reads them once more,
// because without events it would miss a change.
func (w *watcher) takeOver(ctx context.Context) (changed bool) {
	changed = w.reload(ctx, false)
	was := w.gens().All[0].Read
	if w.awaitWriters(was) {
		return changed
	}
	more := len(w.gens().All)
	if !w.gens().Advance(w.World.Now()) {
		return changed || len(w.gens().All) < more
	}
	now := w.gens().All[0].Read
	w.shown.accepted(w.World.Now(), true)
	w.cancelLadders(ctx)
	w.tellReload(was, now)
	return true
}

// awaitWriters reports whether another process is still writing the rules that come into
// force next, and logs it once if that takes long.
func (w *watcher) awaitWriters(was *rules.Program) bool {
	now, r := w.World.Now(), &w.reader
	r.again = time.Time{}
	writing := w.gens().Newest().BeingWritten(was)
	awaited := map[string]time.Time{}
	for _, path := range writing {
		since, ok := r.awaited[path]
		if !ok {
			since = now
		}
		awaited[path] = since
		if now.Sub(since) >= rules.Patience && !r.warned[path] {
			if r.warned == nil {
				r.warned = map[string]bool{}
			}
			r.warned[path] = true
			w.Log.Warn("another process has it open for writing: its changes take full effect only when it is closed, or after SIGHUP", "file", path)
		}
	}
	for path := range r.warned {
		if _, still := awaited[path]; !still {
			delete(r.warned, path)
		}
	}
	if r.awaited = awaited; len(writing) == 0 || len(w.gens().All) != 2 {
		return false // what is younger has a say anyway
	}
	r.again = now.Add(writerPoll)
	return true
}

// lookAgain reads the rules in the middle of a cycle if they may have changed, so that the
// next effect spares what they spare by now. In a busy directory it takes a tenth of the
// time at most.
func (w *watcher) lookAgain() {
	r := &w.reader
	for more := true; more; {
		select {
		case _, open := <-w.files.Events():
			r.stale, r.behind, more = true, true, open
		case err, open := <-w.files.Errors():
			if r.stale, r.behind, more = true, true, open; open {
				w.Log.Warn("watching rules", "error", err)
			}
		default:
			more = false
		}
	}
	since := w.World.Now().Sub(r.last)
	if !r.stale && since < poll || since < max(lookAgainAfter, 10*r.took) {
		return
	}
	r.behind = true
	if p, err := w.load(); err == nil && w.gens().Add(p, w.World.Now()) {
		w.Log.Info("rules changed in the middle of a cycle", "generation", p.Short())
	}
}

func (w *watcher) tellReload(was, p *rules.Program) {
	c := p.Diff(was)
	w.Log.Info("rules reloaded", "generation", p.Short(), "was", was.Short(), "changed", c.Changed, "added", c.Added, "removed", c.Removed, "sets", c.Sets)
	w.sayDifference(was, p)
	if len(c.ProtectRemoved) > 0 {
		w.Log.Warn("protection removed", "generation", p.Short(), "protect_removed", c.ProtectRemoved, "files_gone", gone(was, p))
	}
	for _, s := range w.Silences.At(w.World.Now()) {
		if missing := s.Missing(func(name string) bool { return p.Rule(name) != nil }); len(missing) > 0 {
			w.Log.Warn("a silence names rules that are not there any more; what other rules find is not spared by it", "id", s.ID, "rules", missing)
		}
	}
	if !p.SameText(was) {
		for _, warning := range p.Warnings.First(maxLogged) {
			w.Log.Warn("rules", "warning", warning.String())
		}
	}
}

// reject logs once what is wrong. A file that is being written may be right in a moment, so
// for that it waits.
func (w *watcher) reject(err error, forced bool) {
	text := err.Error()
	if text == w.reader.rejected && !forced {
		return
	}
	var unfinished *rules.Unfinished
	if errors.As(err, &unfinished) && !forced {
		path := unfinished.Writing[0]
		since, ok := w.reader.awaited[path]
		if !ok {
			since = w.World.Now()
			w.reader.awaited = map[string]time.Time{path: since}
		}
		if w.World.Now().Sub(since) < rules.Patience {
			w.reader.behind = true
			return
		}
	}
	w.reader.rejected = text
	w.shown.rejected(w.World.Now(), err)
	var problems rules.Problems
	if !errors.As(err, &problems) {
		w.Log.Error("rules rejected, still on "+w.gens().Newest().Short(), "error", err)
		return
	}
	for _, p := range problems.First(maxLogged) {
		w.Log.Error("rules rejected, still on "+w.gens().Newest().Short(), "error", p.String())
	}
}

func gone(was, now *rules.Program) []string {
	var names []string
	for _, f := range was.Files {
		found := false
		for _, g := range now.Files {
			found = found || g.Path == f.Path
		}
		if !found {
			names = append(names, f.Path)
		}
	}
	return names
}
