package news

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

const (
	// MaxQueued is how many messages wait for one receiver; more are dropped.
	MaxQueued = 64
	// Between is the least time between two messages to one receiver.
	Between = time.Second
	// MaxLinesOfMessage is how many findings a message describes.
	MaxLinesOfMessage = 5
	// Farewell is how long messages are still delivered at the end of a run.
	Farewell = 15 * time.Second
	// Grace is how long a receiver has to heed that it is to stop.
	Grace = time.Second
)

// Outbox delivers messages beside the cycles: a receiver that is slow or dead
// never delays one.
type Outbox struct {
	log     *slog.Logger
	clock   world.Clock
	plugins map[string]actions.NotifierPlugin
	stop    context.CancelFunc
	ctx     context.Context //nolint:containedctx // of the goroutines that it owns
	running sync.WaitGroup

	receivers map[string]*receiver
	told      map[report.Key]report.Decision

	Between, Farewell, grace time.Duration // as above, but for tests
}

type receiver struct {
	config  rules.Notifier
	queue   chan actions.Message
	dropped atomic.Int64
}

// NewOutbox makes an outbox whose notifiers are of these plugins.
func NewOutbox(plugins []actions.NotifierPlugin, clock world.Clock, log *slog.Logger) *Outbox {
	o := &Outbox{
		log: log, clock: clock, plugins: map[string]actions.NotifierPlugin{}, receivers: map[string]*receiver{}, told: map[report.Key]report.Decision{},
		Between: Between, Farewell: Farewell, grace: Grace,
	}
	for _, p := range plugins {
		o.plugins[p.Name] = p
	}
	o.ctx, o.stop = context.WithCancel(context.Background())
	return o
}

// tell sends a message for each rule that wants it and has findings that are new
// or whose decision changed.
func (o *Outbox) tell(host string, p *rules.Program, r *report.Report) {
	news := map[*rules.Rule][]*report.Finding{}
	now := make(map[report.Key]report.Decision, len(r.Findings))
	for _, f := range r.Findings {
		if len(f.Rule.Notify) == 0 {
			continue
		}
		key := report.KeyOf(f)
		if f.Unsettled { // no news: it may be as before in a moment
			if was, ok := o.told[key]; ok {
				now[key] = was
			}
			continue
		}
		now[key] = f.Decision
		if o.told[key] != f.Decision {
			news[f.Rule] = append(news[f.Rule], f)
		}
	}
	o.told = now
	for _, rule := range p.Rules {
		if len(news[rule]) == 0 {
			continue
		}
		m := message(o.clock.Now(), host, r, rule, news[rule])
		for _, name := range rule.Notify {
			o.Enqueue(name, p.Notifiers[name], m)
		}
	}
}

// message describes the findings of one rule.
func message(now time.Time, host string, r *report.Report, rule *rules.Rule, findings []*report.Finding) actions.Message {
	m := actions.Message{
		Time: now, Host: host, Mode: r.Mode, Rule: rule.Name, Labels: rule.Labels, Generation: r.Generation, Total: len(findings),
	}
	counts := map[string]int{}
	var order []string
	for _, f := range findings {
		what := string(f.Decision)
		if last := f.Last().Result; f.Decision == report.DecideAct && last != "" {
			what = string(last)
		}
		if counts[what]++; counts[what] == 1 {
			order = append(order, what)
		}
		if len(m.Lines) < MaxLinesOfMessage {
			m.Lines = append(m.Lines, Line(f, what))
		}
	}
	for _, what := range order {
		m.Counts = append(m.Counts, actions.Count{What: what, Count: counts[what]})
	}
	return m
}

// Line describes a finding in a message.
func Line(f *report.Finding, what string) string {
	if f.NoSocket() {
		return what + ": no socket matches"
	}
	s := &f.Socket
	text := fmt.Sprintf("%s: %s port %d peer %s", what, s.State, s.LocalPort, netip.AddrPortFrom(s.Remote.Netip(), s.RemotePort))
	if len(f.Facts.Owners) > 0 {
		text += " " + collectors.OwnerNames(f.Facts.Owners)
		if last := f.Last(); last.PID != 0 && len(f.Facts.Owners) > 1 {
			text += " (" + last.Text(f) + ")"
		}
	}
	if f.Facts.Age.Min > 0 {
		text += fmt.Sprintf(" age %.0fs", f.Facts.Age.Min)
	}
	return text
}

// Enqueue hands a message to the goroutine of its receiver, which is started at
// the first message and again when its configuration has changed.
func (o *Outbox) Enqueue(name string, config rules.Notifier, m actions.Message) {
	r := o.receivers[name]
	if r == nil || !r.config.Equal(config) {
		if r != nil {
			close(r.queue)
			delete(o.receivers, name)
		}
		plugin := o.plugins[config.Plugin]
		if plugin.New == nil {
			o.log.Error("no such notifier", "name", name, "plugin", config.Plugin)
			return
		}
		n, err := plugin.New(config.Params)
		if err != nil {
			o.log.Error("notifier", "name", name, "error", err)
			return
		}
		r = &receiver{config: config, queue: make(chan actions.Message, MaxQueued)}
		o.receivers[name] = r
		o.running.Add(1)
		go o.deliver(name, n, r)
	}
	select {
	case r.queue <- m:
	default:
		if r.dropped.Add(1) == 1 {
			o.log.Warn("notifier is too slow, messages are dropped", "name", name)
		}
	}
}

func (o *Outbox) deliver(name string, n actions.Notifier, r *receiver) {
	defer o.running.Done()
	var last time.Time
	for m := range r.queue {
		select {
		case <-time.After(last.Add(o.Between).Sub(o.clock.Now())):
		case <-o.ctx.Done():
		}
		last = o.clock.Now()
		if err := n.Send(o.ctx, m); err != nil {
			o.log.Warn("message not delivered", "name", name, "rule", m.Rule, "error", err)
		}
		if lost := r.dropped.Swap(0); lost > 0 {
			o.log.Warn("messages were dropped", "name", name, "count", lost)
		}
	}
}

// Close delivers what still waits, for a short time, and does not wait for a
// receiver that does not heed that it is to stop.
func (o *Outbox) Close() {
	for _, r := range o.receivers {
		close(r.queue)
	}
	o.receivers = map[string]*receiver{}
	done := make(chan struct{})
	go func() { o.running.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(o.Farewell):
		o.log.Warn("messages given up at the end")
	}
	o.stop()
	select {
	case <-done:
	case <-time.After(o.grace):
		o.log.Error("a notifier does not stop")
	}
}

// Send sends one message through a configured notifier, and waits.
func Send(ctx context.Context, plugins []actions.NotifierPlugin, config rules.Notifier, m actions.Message) error {
	i := slices.IndexFunc(plugins, func(p actions.NotifierPlugin) bool { return p.Name == config.Plugin })
	if i < 0 {
		return fmt.Errorf("no notifier plugin %q", config.Plugin) //nolint:err113 // for people
	}
	n, err := plugins[i].New(config.Params)
	if err != nil {
		return fmt.Errorf("%s: %w", config.Plugin, err)
	}
	return n.Send(ctx, m)
}
