package metrics

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sockwarden/actions"
	"sockwarden/engine/report"
	"sockwarden/rules"
)

// maxSeries bounds the series of a counter whose labels come from rules: in months of
// reloads they can have many names. The rest count as other.
const maxSeries = 1000

// other is the label value of what is not counted apart.
const other = "other"

// buckets of the duration of cycles, in seconds.
var buckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// The results of cycles.
const (
	cycleOK         = "ok"
	cycleIncomplete = "incomplete"
	cycleFailed     = "failed"
)

// Recorder counts what happens. It is a news.Observer that also hears of failed cycles and
// of messages. All of it is safe for concurrent use.
type Recorder struct {
	mu        sync.Mutex
	applied   map[[3]string]float64 // by rule, action and result
	messages  map[[2]string]float64 // by notifier and result
	cycles    map[string]float64    // by result
	tripped   map[string]bool       // by threshold
	trips     float64
	last      last
	durations prometheus.Histogram
}

// last is what metrics need of the last cycle that could look at sockets: a copy, since
// ladders that wait go on changing what the cycle found.
type last struct {
	program  *rules.Program
	ended    time.Time             // zero before the first
	findings map[[2]string]float64 // by rule and decision
	inodes   map[uint32]bool       // of sockets of all processes that have findings, one of each
}

// NewRecorder makes a recorder. The program has the rules that are in force at first.
func NewRecorder(p *rules.Program) *Recorder {
	return &Recorder{
		applied: map[[3]string]float64{}, messages: map[[2]string]float64{}, last: last{program: p},
		cycles:    map[string]float64{cycleOK: 0, cycleIncomplete: 0, cycleFailed: 0},
		durations: prometheus.NewHistogram(prometheus.HistogramOpts{Name: durations.name, Help: durations.help, Buckets: buckets}),
	}
}

// Listens is false: outcomes and reports are enough.
func (r *Recorder) Listens() bool { return false }

// Decision counts nothing.
func (r *Recorder) Decision(string, string, *report.Finding) {}

// Outcome counts the result of a rung, but for those that the last look kept from being
// tried.
func (r *Recorder) Outcome(_ context.Context, o *report.Outcome) {
	if o.Result == actions.Changed {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := [3]string{label(o.Rule), label(o.Action), string(o.Result)}
	if _, known := r.applied[key]; !known && len(r.applied) >= maxSeries {
		key = [3]string{other, other, other}
	}
	r.applied[key]++
}

// Cycle counts a cycle and keeps its report.
func (r *Recorder) Cycle(_ context.Context, p *rules.Program, c *report.Report) {
	r.durations.Observe(c.Duration.Seconds())
	now := map[string]bool{}
	for _, err := range c.Errors {
		if t, ok := errors.AsType[*report.TrippedError](err); ok {
			now[t.Name] = true
		}
	}
	done := last{program: p, ended: c.Started.Add(c.Duration), findings: countFindings(p, c), inodes: inodesOf(c)}
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range now {
		if !r.tripped[name] {
			r.trips++
		}
	}
	r.tripped, r.last = now, done
	if c.Incomplete {
		r.cycles[cycleIncomplete]++
	} else {
		r.cycles[cycleOK]++
	}
}

// Failed counts a cycle that could not look at anything.
func (r *Recorder) Failed(_ context.Context, took time.Duration, _ error) {
	r.durations.Observe(took.Seconds())
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cycles[cycleFailed]++
}

// Delivered counts a message: result is sent, failed or dropped.
func (r *Recorder) Delivered(notifier, result string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := [2]string{label(notifier), result}
	if _, known := r.messages[key]; !known && len(r.messages) >= maxSeries {
		key[0] = other
	}
	r.messages[key]++
}

// now returns the last cycle.
func (r *Recorder) now() last {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// collectCounters sends what was counted.
func (r *Recorder) collectCounters(ch chan<- prometheus.Metric) {
	r.durations.Collect(ch)
	r.mu.Lock()
	defer r.mu.Unlock()
	for k, n := range r.applied {
		ch <- applied.is(n, k[:]...)
	}
	for k, n := range r.messages {
		ch <- messages.is(n, k[:]...)
	}
	for result, n := range r.cycles {
		ch <- cycles.is(n, result)
	}
	ch <- trips.is(r.trips)
	ch <- tripped.is(number(len(r.tripped) > 0))
}

// NetNS is where the rules of the last cycle look, as the rules file names it.
func (r *Recorder) NetNS() []string { return r.now().program.NetNS }

// Inodes are sockets of all processes that have findings, one of each.
func (r *Recorder) Inodes() map[uint32]bool { return r.now().inodes }

// countFindings counts the findings of a cycle. What a rule is for counts even if it is
// zero, so that a series goes on when its last finding is over.
func countFindings(p *rules.Program, c *report.Report) map[[2]string]float64 {
	counts := map[[2]string]float64{}
	for _, rule := range p.Rules {
		switch rule.Mode {
		case rules.ModeEnforce:
			counts[[2]string{label(rule.Name), string(report.DecideAct)}] = 0
		case rules.ModeObserve:
			counts[[2]string{label(rule.Name), string(report.DecideObserve)}] = 0
		case rules.ModeDisabled:
		}
	}
	for _, f := range c.Findings {
		counts[[2]string{label(f.Rule.Name), string(f.Decision)}]++
	}
	return counts
}

func inodesOf(c *report.Report) map[uint32]bool {
	inodes, known := map[uint32]bool{}, map[int]bool{}
	for _, f := range c.Findings {
		for i := range f.Facts.Owners {
			if pid := f.Facts.Owners[i].PID; !known[pid] && f.Socket.Inode != 0 {
				known[pid], inodes[f.Socket.Inode] = true, true
			}
		}
	}
	return inodes
}
