package news

import (
	"context"
	"errors"
	"time"

	"sockwarden/actions"
	"sockwarden/engine/report"
)

const (
	// firstPause is how long a message waits that was not delivered, in addition to what its
	// notifier does; the pause doubles each time up to maxPause.
	firstPause = time.Second
	maxPause   = time.Minute
)

// outage is what became of the messages to one receiver lately.
type outage struct {
	*Outbox
	name  string
	began time.Time // of the outage, zero for none
	tries int       // that have failed since then
	row   int       // that have failed since then, or since the rules changed the receiver
	lost  int       // messages that will never be delivered, since the last that was
}

// heard takes the fate of a message. The log says it once when an outage begins, and when
// it is over. It reports whether to send the message again; ended says that there is no
// more time for that, and left is how many others wait.
func (o *outage) heard(m actions.Message, err error, ended bool, left int) (again bool) {
	if err == nil {
		o.count(o.name, "sent")
		if !o.began.IsZero() {
			lasted := report.Short(o.clock.Now().Sub(o.began))
			o.log.Info("messages are delivered again", "name", o.name, "after", lasted, "tries", o.tries, "waiting", left, "lost", o.lost)
		}
		o.began, o.tries, o.row, o.lost = time.Time{}, 0, 0, 0
		return false
	}
	_, final := errors.AsType[*actions.FinalError](err)
	again = !final && !ended
	log := o.log.Debug
	if o.began.IsZero() {
		log, o.began = o.log.Warn, o.clock.Now()
	}
	message := "message not delivered"
	if again {
		o.count(o.name, "failed")
		message += ", trying again"
	} else {
		o.count(o.name, "lost")
		o.lost++
	}
	o.tries++
	o.row++
	log(message, "name", o.name, "rule", m.Rule, "error", err)
	return again
}

// pause is how long to wait before the next try.
func (o *outage) pause() time.Duration {
	return min(firstPause<<min(o.row-1, 10), maxPause)
}

// end says how many messages were lost, unless the log has named the only one.
func (o *outage) end() {
	if o.lost > 1 {
		o.log.Warn("messages were not delivered", "name", o.name, "count", o.lost)
	}
}

// dropped says how many messages waited for a receiver that rules no longer name.
func (o *outage) dropped(count int) {
	for range count {
		o.count(o.name, "lost")
	}
	if count > 0 {
		o.log.Warn("rules no longer name a receiver: messages that waited for it are dropped", "name", o.name, "count", count)
	}
}

// pace keeps messages apart.
type pace struct {
	*Outbox
	sent []time.Time // the last of them, oldest first
}

// wait waits until the next message may be sent, with so many a minute (0 for any number).
// It reports whether the rate made it wait: then all that wait by now go out as one.
func (p *pace) wait(ctx context.Context, rate int) (tooMany bool) {
	now := p.clock.Now()
	if n := len(p.sent); n > 0 {
		sleep(ctx, p.sent[n-1].Add(p.Between).Sub(now))
	}
	if rate > 0 && len(p.sent) >= rate {
		free := p.sent[len(p.sent)-rate].Add(time.Minute).Sub(p.clock.Now())
		tooMany = free > 0
		sleep(ctx, free)
	}
	return tooMany
}

// sends notes that a message is sent now.
func (p *pace) sends(rate int) {
	p.sent = append(p.sent, p.clock.Now())
	p.sent = p.sent[max(0, len(p.sent)-max(rate, 1)):]
}

// sleep waits for d, or until ctx ends, on a goroutine of its own: by the time of this
// host, whatever clock the cycles have.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
