package news

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"sockwarden/actions"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

const (
	// MaxQueued is how many messages can wait for one receiver; more are summed up.
	MaxQueued = 64
	// Between is the minimum time between two messages to one receiver.
	Between = time.Second
	// MaxLinesOfMessage is how many findings a message describes.
	MaxLinesOfMessage = 5
	// Farewell is how long a run goes on delivering messages at its end.
	Farewell = 15 * time.Second
	// Grace is how long a receiver has to stop when asked to.
	Grace = time.Second
)

// Outbox delivers messages beside the cycles: a slow or dead receiver never delays one.
type Outbox struct {
	log     *slog.Logger
	clock   world.Clock
	plugins map[string]actions.NotifierPlugin
	running sync.WaitGroup
	end     chan struct{} // stop closes it: from then on nothing is delivered
	stop    func()

	receivers map[string]*receiver
	counting  []Counting // hear what comes of messages

	Between, Farewell, grace time.Duration // as above; tests change them
}

// NewOutbox makes an outbox with notifiers from these plugins.
func NewOutbox(plugins []actions.NotifierPlugin, clock world.Clock, log *slog.Logger) *Outbox {
	o := &Outbox{
		log: log, clock: clock, plugins: map[string]actions.NotifierPlugin{}, receivers: map[string]*receiver{}, end: make(chan struct{}),
		Between: Between, Farewell: Farewell, grace: Grace,
	}
	o.stop = sync.OnceFunc(func() { close(o.end) })
	for _, p := range plugins {
		o.plugins[p.Name] = p
	}
	return o
}

// Enqueue passes a message to the goroutine of its receiver, which starts with the first
// message and again when its configuration has changed. It continues after ctx ends,
// until Close.
func (o *Outbox) Enqueue(ctx context.Context, name string, config rules.Notifier, m actions.Message) {
	r := o.receivers[name]
	if r == nil || !r.config.Equal(config) {
		if r != nil {
			r.end()
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
		d, err := actions.DeliveryOf(config.Params)
		if err != nil {
			o.log.Error("notifier", "name", name, "error", err)
			return
		}
		r = newReceiver(config, d)
		o.receivers[name] = r
		o.running.Add(1)
		go o.deliver(context.WithoutCancel(ctx), name, n, r)
	}
	summed, first := r.put(m)
	if summed {
		o.count(name, "summed")
	}
	if first {
		o.log.Warn("more messages wait than there is room for, they are summed up", "name", name, "room", MaxQueued)
	}
}

func (o *Outbox) deliver(ctx context.Context, name string, n actions.Notifier, r *receiver) {
	defer o.running.Done()
	ctx, stop := o.untilEnd(ctx)
	defer stop()
	p, out := pace{Outbox: o, rate: r.delivery.Rate}, outage{Outbox: o, name: name}
	defer out.end()
	for r.await() {
		tooMany := p.wait(ctx)
		m := r.take(tooMany)
		err := n.Send(ctx, m)
		if out.heard(m, err, ctx.Err() != nil, r.left()) {
			r.back(m)
			sleep(ctx, out.pause())
		} else if err == nil {
			r.delivered()
		}
	}
}

// untilEnd returns a context that ends when delivery ends.
func (o *Outbox) untilEnd(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(ctx)
	go func() {
		defer stop()
		select {
		case <-o.end:
		case <-ctx.Done():
		}
	}()
	return ctx, stop
}

func (o *Outbox) count(name, result string) {
	for _, who := range o.counting {
		who.Delivered(name, result)
	}
}

// Close delivers what still waits, for a short time, and does not wait for a receiver
// that ignores a stop.
func (o *Outbox) Close() {
	for _, r := range o.receivers {
		r.end()
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

// Send sends one message through a configured notifier and waits for it.
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
