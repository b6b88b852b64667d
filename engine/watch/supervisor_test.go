package watch

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sockwarden/engine/judge"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/news"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// manager is a supervisor that ends the watcher if it does not hear from it in time.
type manager struct {
	patience time.Duration
	fed      *time.Timer
	heard    []string
}

func (m *manager) Patience() time.Duration { return m.patience }

func (m *manager) Tell(p Phase, status string) {
	if p == Alive && m.fed != nil {
		m.fed.Reset(m.patience)
	}
	m.heard = append(m.heard, fmt.Sprint(int(p))+" "+status)
}

// supervisedWatcher is a watcher whose cycles take some time, and find nothing.
func supervisedWatcher(m *manager, interval, takes time.Duration) (w *watcher, cycles *int) {
	var j journal
	n := 0
	real := &world.World{Clock: world.SystemClock()}
	w = &watcher{
		Parts: Parts{
			World: real, Log: j.logger(), Looker: look.NewLooker(real, j.logger(), memory.NewMemory(), look.Options{}),
			Looking: func() time.Duration { return 0 },
			Cycle: func(context.Context, *rules.Program) (*report.Report, error) {
				n++
				<-time.After(takes)
				return nil, errors.New("it cannot look")
			},
		},
		opts:       Options{Interval: interval, Load: func() (*rules.Program, []string, error) { return nil, nil, errors.New("no rules: a.yaml:1:1") }},
		supervised: supervised{by: m}, // without files to watch
	}
	w.notices = newNotices(&w.Parts)
	w.News = news.New(real, memory.NewMemory(), news.Options{Log: j.logger()})
	w.Judge = judge.New(real, j.logger(), memory.NewMemory(), w.Looker, judge.Options{})
	w.Judge.Council.Gens = judge.NewGenerations(&rules.Program{Generation: "sha256:0123456789abcdef"}, time.Now())
	return w, &n
}

// The supervisor hears that the watcher is alive however long its interval is, as long as
// each cycle takes less time than the supervisor waits; one that takes longer is ended.
func TestWatchdog(t *testing.T) {
	for name, c := range map[string]struct {
		patience, interval, takes time.Duration
		ended                     bool
		cycles                    int // in an hour
	}{
		"a long interval":      {10 * time.Second, 30 * time.Minute, 0, false, 2},
		"cycles of most of it": {10 * time.Second, 30 * time.Minute, 9 * time.Second, false, 2},
		"a stuck cycle":        {10 * time.Second, 30 * time.Minute, 11 * time.Second, true, 1},
		"short intervals":      {10 * time.Second, 2 * time.Minute, 0, false, 30},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithTimeout(t.Context(), time.Hour-time.Second)
				defer stop()
				m := &manager{patience: c.patience}
				w, cycles := supervisedWatcher(m, c.interval, c.takes)
				ended := false
				m.fed = time.AfterFunc(c.patience, func() { ended = true; stop() })
				w.run(ctx)
				m.fed.Stop()
				if ended != c.ended || *cycles != c.cycles {
					t.Errorf("ended %t after %d cycles", ended, *cycles)
				}
			})
		})
	}
}

// Somebody who asks for a reload gets it announced; without a watchdog there is no
// message but about changes.
func TestPhases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &manager{}
		w, _ := supervisedWatcher(m, time.Minute, 0)
		w.tell(Ready)
		w.announced(func() { w.reload(t.Context(), true) })
		began := time.Now()
		w.cycle(t.Context())
		w.alive(time.Minute)
		if wait := w.alive(time.Minute); wait != time.Minute {
			t.Errorf("waits %s", wait)
		}
		w.supervised.cycle(began, &report.Report{Mode: report.ModeLive, Summary: report.Summary{Scanned: 446, Matched: 12, Acted: 3}}, nil)
		w.tell(Stopping)
		dry, rejected := "dry-run, 0 rules, generation 0123456", "rules rejected, still on 0123456: no rules: a.yaml:1:1, "
		cycle := "; cycle of " + began.Format(time.TimeOnly)
		want := []string{
			fmt.Sprintf("%d %s", Ready, dry),
			fmt.Sprintf("%d %s", Reloading, dry),
			fmt.Sprintf("%d %s%s", Ready, rejected, dry),
			fmt.Sprintf("%d %s%s%s failed: it cannot look", Alive, rejected, dry, cycle),
			fmt.Sprintf("%d %s%s%s: 446 scanned, 12 matched, 3 acted on", Stopping, rejected, dry, cycle),
		}
		if strings.Join(m.heard, "\n") != strings.Join(want, "\n") {
			t.Errorf("heard\n%s\nnot\n%s", strings.Join(m.heard, "\n"), strings.Join(want, "\n"))
		}
	})
}

// It hears for whom newer rules wait.
func TestSupervisorHearsOfWriters(t *testing.T) {
	w, _ := supervisedWatcher(&manager{}, time.Minute, 0)
	w.shown.begins(time.Now())
	if text := w.statusText(); strings.Contains(text, "wait") {
		t.Error(text)
	}
	w.reader.awaited = map[string]time.Time{"a.yaml": time.Now()}
	if text := w.statusText(); !strings.HasPrefix(text, "newer rules wait: another process has a.yaml open for writing, dry-run, ") {
		t.Error(text)
	}
}
