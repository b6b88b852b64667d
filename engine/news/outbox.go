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
	// LastAttempt is how long an attempt to deliver a message may go on after the rules have
	// described its receiver otherwise.
	LastAttempt = 10 * time.Second
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

	Between, Farewell, grace, lastAttempt time.Duration // as above; tests change them
}

// NewOutbox makes an outbox with notifiers from these plugins.
func NewOutbox(plugins []actions.NotifierPlugin, clock world.Clock, log *slog.Logger) *Outbox {
	o := &Outbox{
		log: log, clock: clock, plugins: map[string]actions.NotifierPlugin{}, receivers: map[string]*receiver{}, end: make(chan struct{}),
		Between: Between, Farewell: Farewell, grace: Grace, lastAttempt: LastAttempt,
	}
	o.stop = sync.OnceFunc(func() { close(o.end) })
	for _, p := range plugins {
		o.plugins[p.Name] = p
	}
	return o
}

// Serve takes over what the rules say about receivers. One that they no longer name ends,
// and its waiting messages are dropped; one that they describe otherwise gets those that
// wait in the new way.
func (o *Outbox) Serve(configs map[string]rules.Notifier) {
	for name, r := range o.receivers {
		config, there := configs[name]
		switch {
		case !there:
			r.remove()
			delete(o.receivers, name)
		case !r.serves(config) && !r.refused.Equal(config):
			if way, ok := o.way(name, config); ok {
				o.replace(r, way)
			} else {
				r.refused = config
			}
		}
	}
}

// Enqueue passes a message to the goroutine of its receiver, which starts with the first
// message. It continues after ctx ends, until Close.
func (o *Outbox) Enqueue(ctx context.Context, name string, config rules.Notifier, m actions.Message) {
	r := o.receivers[name]
	if r == nil || !r.serves(config) {
		way, ok := o.way(name, config)
		switch {
		case !ok:
			return
		case r != nil:
			o.replace(r, way)
		default:
			r = newReceiver(name, way)
			o.receivers[name] = r
			o.running.Add(1)
			go o.deliver(context.WithoutCancel(ctx), r)
		}
	}
	summed, first := r.put(m)
	if summed {
		o.count(name, "summed")
	}
	if first {
		o.log.Warn("more messages wait than there is room for, they are summed up", "name", name, "room", MaxQueued)
	}
}

// way makes the notifier that a configuration describes. The log says if there is none.
func (o *Outbox) way(name string, config rules.Notifier) (*way, bool) {
	plugin := o.plugins[config.Plugin]
	if plugin.New == nil {
		o.log.Error("no such notifier", "name", name, "plugin", config.Plugin)
		return nil, false
	}
	n, err := plugin.New(config.Params)
	if err == nil {
		var d actions.Delivery
		if d, err = actions.DeliveryOf(config.Params); err == nil {
			return &way{config: config, notifier: n, delivery: d, left: make(chan struct{})}, true
		}
	}
	o.log.Error("notifier", "name", name, "error", err)
	return nil, false
}

func (o *Outbox) replace(r *receiver, by *way) {
	if waiting := r.replace(by); waiting > 0 {
		o.log.Info("rules have changed a receiver: what waits goes the new way", "name", r.name, "waiting", waiting)
	}
}

func (o *Outbox) deliver(ctx context.Context, r *receiver) {
	defer o.running.Done()
	ctx, stop := until(ctx, o.end, 0)
	defer stop()
	ctx, stopRemoved := until(ctx, r.removed, 0)
	defer stopRemoved()
	p, out := pace{Outbox: o}, outage{Outbox: o, name: r.name}
	defer out.end()
	for r.await() {
		o.deliverOne(ctx, r, &p, &out)
	}
	out.dropped(r.drop())
}

// deliverOne delivers the oldest message, or finds that it has to be tried again. If the
// rules describe the receiver otherwise meanwhile, it leaves the old way as soon as an
// attempt that is under way has ended: what the other side may have taken is not sent twice.
func (o *Outbox) deliverOne(ctx context.Context, r *receiver, p *pace, out *outage) {
	by := r.way()
	attempt, stopAttempt := until(ctx, by.left, o.lastAttempt)
	defer stopAttempt()
	tries, stopTries := until(actions.WithAttempt(attempt), by.left, 0)
	defer stopTries()
	tooMany := p.wait(tries, by.delivery.Rate)
	if by.isLeft() || r.isRemoved() {
		return
	}
	p.sends(by.delivery.Rate)
	m := r.take(tooMany)
	err := by.notifier.Send(tries, m)
	switch {
	case err != nil && r.isRemoved():
		r.back(m) // dropped with the others
	case out.heard(m, err, ctx.Err() != nil, r.left()):
		r.back(m)
		sleep(tries, out.pause())
		if by.isLeft() {
			out.row = 0
		}
	case err == nil:
		r.delivered()
	}
}

// until returns a context that ends some time after a channel was closed.
func until(ctx context.Context, closed <-chan struct{}, after time.Duration) (context.Context, context.CancelFunc) {
	ctx, stop := context.WithCancel(ctx)
	go func() {
		defer stop()
		select {
		case <-closed:
			sleep(ctx, after)
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
