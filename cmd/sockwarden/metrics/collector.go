package metrics

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"sockwarden/engine"
	"sockwarden/engine/pause"
	"sockwarden/engine/silence"
	"sockwarden/engine/watch"
	"sockwarden/rules"
)

// Collector gives the metrics of this program to a registry.
type Collector struct {
	Version  string
	Live     bool
	Recorder *Recorder
	// Status returns the state of the watcher, nil before its loop begins; nil where there
	// is no watcher.
	Status func() *watch.Status
	// Census returns the newest census, nil if there is none.
	Census     func() *engine.Census
	PauseFiles []string
	// Silences are those that this program obeys, nil for none.
	Silences *silence.Store
	// Top is how many listeners and programs have series of their own; the rest are one.
	Top int
}

// Describe sends nothing: which series there are depends on what is found.
func (c *Collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends all metrics as they are now.
func (c *Collector) Collect(ch chan<- prometheus.Metric) {
	c.Recorder.collectCounters(ch)
	ch <- buildInfo.is(1, label(c.Version), runtime.Version())
	ch <- live.is(number(c.Live))
	ch <- paused.is(number(pause.Read(time.Now(), c.PauseFiles...) != nil))
	ch <- silenced.is(float64(len(c.Silences.At(time.Now()))))
	last := c.Recorder.now()
	collectRules(ch, last.program)
	if !last.ended.IsZero() {
		ch <- lastCycle.is(stamp(last.ended))
	}
	for k, n := range last.findings {
		ch <- findings.is(n, k[:]...)
	}
	if c.Status != nil {
		if s := c.Status(); s != nil {
			collectReload(ch, &s.Rules)
			ch <- eventsLost.is(float64(s.Events.Lost))
		}
	}
	if n := c.Census(); n != nil {
		collectSockets(ch, n)
		collectListeners(ch, n, c.Top)
		collectProcesses(ch, n, c.Top)
	}
}

// collectRules sends how many rules there are in each mode, and their generation.
func collectRules(ch chan<- prometheus.Metric, p *rules.Program) {
	modes := map[rules.Mode]float64{rules.ModeDisabled: 0, rules.ModeObserve: 0, rules.ModeEnforce: 0}
	for _, rule := range p.Rules {
		modes[rule.Mode]++
	}
	for mode, n := range modes {
		ch <- ruleModes.is(n, string(mode))
	}
	ch <- rulesInfo.is(1, p.Generation)
}

// collectReload sends whether the rules as last read are good.
func collectReload(ch chan<- prometheus.Metric, s *watch.RulesStatus) {
	ch <- reloadOK.is(number(s.LastReload.OK))
	ch <- reloadStamp.is(stamp(s.LastReload.Good))
}

// stamp is a time in seconds since 1970.
func stamp(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }
