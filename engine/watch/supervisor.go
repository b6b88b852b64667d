package watch

import (
	"fmt"
	"strings"
	"time"

	"sockwarden/engine/report"
)

// Supervisor starts a watcher and ends it if it hangs, as systemd does. Its methods never
// wait.
type Supervisor interface {
	// Tell passes on in which phase the watcher is, and one line for people.
	Tell(phase Phase, status string)
	// Patience is how long the supervisor waits for Alive before it ends the watcher; 0 is
	// for ever.
	Patience() time.Duration
}

// Phase is where a watcher is in its life.
type Phase int

// The phases.
const (
	Ready     Phase = iota // cycles run, by the rules as they are now
	Reloading              // somebody has asked for the rules to be read; Ready follows
	Alive                  // no cycle is overdue
	Stopping               // the loop has ended; what it began is brought to an end
)

// supervised is what a watcher tells its supervisor.
type supervised struct {
	by     Supervisor // nil for none
	told   time.Time  // when it last heard Alive
	status string     // what it heard
	last   string     // how the last cycle went, "" before there was one
}

// cycle notes how a cycle went that began at a time.
func (s *supervised) cycle(began time.Time, r *report.Report, err error) {
	at := "; cycle of " + began.Format(time.TimeOnly)
	if err != nil {
		s.last = at + " failed: " + err.Error()
		return
	}
	acts := fmt.Sprintf("%d acted on", r.Summary.Acted)
	if r.Mode != report.ModeLive {
		acts = fmt.Sprintf("would act on %d", r.Summary.WouldAct)
	}
	s.last = fmt.Sprintf("%s: %d scanned, %d matched, %s", at, r.Summary.Scanned, r.Summary.Matched, acts)
}

// statusText is one line about the watcher: what needs a person comes first.
func (w *watcher) statusText() string {
	var parts []string
	newest := w.gens().Newest()
	if w.reader.rejected != "" {
		line, _, _ := strings.Cut(w.reader.rejected, "\n")
		parts = append(parts, "rules rejected, still on "+newest.Short()+": "+line)
	}
	if settling := w.settling(); settling != nil && len(settling.Writing) > 0 {
		parts = append(parts, "newer rules wait: "+settling.Why())
	}
	mode := report.ModeDry
	if w.Hand != nil {
		mode = report.ModeLive
	}
	parts = append(parts, mode)
	if w.notices.paused != "" {
		parts = append(parts, "paused "+w.notices.paused)
	}
	return fmt.Sprintf("%s, %d rules, generation %s%s", strings.Join(parts, ", "), len(newest.Rules), newest.Short(), w.supervised.last)
}

// tell tells the supervisor, if there is one.
func (w *watcher) tell(p Phase) {
	s := &w.supervised
	if s.by == nil {
		return
	}
	s.told, s.status = w.World.Now(), w.statusText()
	s.by.Tell(p, s.status)
}

// alive tells the supervisor that no cycle is overdue, unless it has just heard so. It
// returns for how long the loop may wait before it must do this again.
func (w *watcher) alive(wait time.Duration) time.Duration {
	s := &w.supervised
	if s.by == nil {
		return wait
	}
	patience := s.by.Patience()
	overdue := patience > 0 && -w.World.Until(w.schedule.due) >= patience
	recent := patience == 0 || w.World.Now().Sub(s.told) < patience/4
	if !overdue && (!recent || s.status != w.statusText()) {
		w.tell(Alive)
	}
	if patience > 0 {
		wait = min(wait, patience/4)
	}
	return wait
}

// announced reads the rules because somebody asked for it, with the supervisor knowing.
func (w *watcher) announced(read func()) {
	w.tell(Reloading)
	read()
	w.tell(Ready)
}
