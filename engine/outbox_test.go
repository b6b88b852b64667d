package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/catalog"
	"sockwarden/engine/news"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// mailbox is a notifier that keeps what it gets; its Send does what a test says.
type mailbox struct {
	mu   sync.Mutex
	got  []actions.Message
	at   []time.Time
	send func(context.Context) error
}

func (b *mailbox) Send(ctx context.Context, m actions.Message) error {
	b.mu.Lock()
	b.got, b.at = append(b.got, m), append(b.at, time.Now())
	b.mu.Unlock()
	if b.send != nil {
		return b.send(ctx)
	}
	return nil
}

func (b *mailbox) messages() []actions.Message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.got)
}

func (b *mailbox) plugin() actions.NotifierPlugin {
	return actions.NotifierPlugin{
		Name: "box", Summary: "for tests",
		Params: []actions.Param{{Name: "to", Type: "string"}},
		New: func(params map[string]any) (actions.Notifier, error) {
			if params["to"] == "nowhere" {
				return nil, errors.New("there is no such place")
			}
			return b, nil
		},
	}
}

func (b *mailbox) outbox() (*news.Outbox, *journal) {
	j := &journal{}
	return news.NewOutbox([]actions.NotifierPlugin{b.plugin()}, world.SystemClock(), j.logger()), j
}

func to(where string) rules.Notifier {
	return rules.Notifier{Plugin: "box", Params: map[string]any{"to": where}}
}

func hang(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

// notifyingRules loads the text of one file, with box as a plugin under actions.
func (l *lab) notifyingRules(t testing.TB, text string) *rules.Program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rules.yaml")
	must(t, "write rules", os.WriteFile(path, []byte("actions: {ops: {plugin: box}, dev: {plugin: box, to: dev}}\n"+text), 0o600))
	box := rules.ActionSpec{Name: "box", Params: []rules.Param{{Name: "to", Type: rules.ParamString}}, Bind: func(map[string]any) (any, error) { return nil, nil }}
	p, _, err := rules.Load(rules.Options{Paths: []string{path}, Catalog: catalog.New(l.actions), Notifiers: rules.Catalog{box}})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

// There is one message per rule and cycle, with counts and the first few findings, and
// only for what is new.
func TestMessages(t *testing.T) {
	socklab.LeakCheck(t)
	conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 8)
	silent := socklab.Make(t, socklab.FinWait2, socklab.IPv4)
	h := holder(t, append(slices.Clone(conns), silent)...)
	box := &mailbox{}
	l := newLab(t, Options{Live: true, Notify: true, Notifiers: []actions.NotifierPlugin{box.plugin()}}, keeper())
	l.news.Outbox.Between = 0
	text := ruleFile(`state == "CLOSE_WAIT"`, "keep", "notify: [ops, dev]", "labels: {severity: warning}", "limits: {per_cycle: 6}") +
		"  - {name: silent, when: " + port(silent) + ", then: [keep]}\n"
	p := l.notifyingRules(t, text)
	r := l.run(t, p)
	l.Tell(t.Context(), p, r)
	socklab.WaitFor(t, "the messages", func() bool { return len(box.messages()) == 2 })
	for _, m := range box.messages() {
		if m.Rule != "r" || m.Total != 8 || m.Mode != "live" || m.Labels["severity"] != "warning" || m.Generation != p.Generation || m.Host != l.world.Host.Name || time.Since(m.Time) > time.Minute {
			t.Errorf("%+v", m)
		}
		if !slices.Equal(m.Counts, []actions.Count{{What: "refused", Count: 6}, {What: "limited", Count: 2}}) || len(m.Lines) != news.MaxLinesOfMessage {
			t.Errorf("counts %v, %d lines", m.Counts, len(m.Lines))
		}
		if line := m.Lines[0]; !strings.HasPrefix(line, "refused: CLOSE_WAIT port ") || !strings.Contains(line, " peer 10.9.0.2:") || !strings.Contains(line, program()+"[") {
			t.Errorf("line %q", line)
		}
	}
	// Nothing new: those that were acted on are cooling down, and two are acted on now.
	for range 4 {
		r = l.run(t, p)
		l.Tell(t.Context(), p, r)
	}
	// The end is reported once.
	h.CloseSockets(t)
	for range 2 {
		r = l.run(t, p)
		l.Tell(t.Context(), p, r)
	}
	l.Close() // delivers what is left
	got := box.messages()
	if len(got) != 4 || got[3].Event != actions.EventOver || got[3].Total != 0 || got[3].Lasted <= 0 {
		t.Errorf("%d messages, the last %+v", len(got), got[len(got)-1])
	}
}

// A pending finding alarms nobody, and a group is one finding, whichever sockets it has.
func TestMessagesOfGroups(t *testing.T) {
	h := holder(t, socklab.Many(t, socklab.CloseWait, socklab.IPv4, 6)...)
	box := &mailbox{}
	l := newLab(t, Options{Live: true, Notify: true, Notifiers: []actions.NotifierPlugin{box.plugin()}}, keeper())
	l.news.Outbox.Between = 0
	p := l.notifyingRules(t, ruleFile(`state == "CLOSE_WAIT"`, "keep", "group: pid", "having: count > 2", "notify: [ops]", "for: 300ms"))
	tell := func(want string) {
		t.Helper()
		socklab.WaitFor(t, want, func() bool {
			r := l.run(t, p)
			l.Tell(t.Context(), p, r)
			n := 0
			for _, f := range r.Findings {
				if string(f.Decision) == want || want == string(report.DecideAct) && f.Decision == report.DecideCooldown {
					n++
				}
			}
			return n >= 3
		})
	}
	tell("pending")
	if n := len(box.messages()); n != 0 {
		t.Errorf("%d messages of what is pending", n)
	}
	tell("act")
	h.CloseFrom(t, 3)
	tell("act")
	l.Close()
	if got := box.messages(); len(got) != 1 || got[0].Total != 6 || !strings.Contains(got[0].Lines[0], "descriptors open") {
		t.Errorf("%+v", got)
	}
}

// A run that only looks notifies nobody.
func TestNoMessagesWithoutNotify(t *testing.T) {
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	holder(t, c)
	box := &mailbox{}
	l := newLab(t, Options{Notifiers: []actions.NotifierPlugin{box.plugin()}}, keeper())
	p := l.notifyingRules(t, ruleFile(port(c), "keep", "notify: [ops]"))
	l.Tell(t.Context(), p, l.run(t, p))
	l.Close()
	if n := len(box.messages()); n != 0 {
		t.Errorf("%d messages", n)
	}
}

// A finding without a socket is news like any other, and again after it was gone.
func TestMessageWithoutSocket(t *testing.T) {
	box := &mailbox{}
	l := newLab(t, Options{Notify: true, Notifiers: []actions.NotifierPlugin{box.plugin()}})
	l.news.Outbox.Between = 0
	free := socklab.NewListener(t, socklab.IPv4, 0)
	text := fmt.Sprintf("state == \"LISTEN\" && port == %d", free.Addr.Port())
	missing := l.notifyingRules(t, ruleFile("port == 1", "log", "group: host", "having: count == 0", "notify: [ops]"))
	present := l.notifyingRules(t, ruleFile(text, "log", "group: host", "having: count == 0", "notify: [ops]"))
	for _, p := range []*rules.Program{missing, missing, present, missing} {
		l.Tell(t.Context(), p, l.run(t, p))
	}
	l.Close()
	got := box.messages()
	events := make([]actions.Event, len(got))
	for i, m := range got {
		events[i] = m.Event
	}
	if !slices.Equal(events, []actions.Event{actions.EventMissing, actions.EventOver, actions.EventMissing}) || !slices.Equal(got[0].Lines, []string{"would: no socket matches"}) || got[0].Total != 0 {
		t.Errorf("%+v", got)
	}
}

// A hanging receiver holds nothing up: what does not fit is summed up.
func TestHangingNotifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		box := &mailbox{}
		box.send = func(context.Context) error { <-free; return nil }
		o, j := box.outbox()
		start := time.Now()
		const sent = news.MaxQueued + 40
		for i := range sent {
			o.Enqueue(t.Context(), "ops", to("ops"), actions.Message{Rule: "r", Event: actions.EventFound, Total: i})
			synctest.Wait() // the first one is under way
		}
		if took := time.Since(start); took != 0 {
			t.Errorf("held up for %s", took)
		}
		if n := len(j.lines("level=WARN", "more messages wait", "summed up", "name=ops")); n != 1 {
			t.Errorf("said %d times", n)
		}
		box.mu.Lock()
		box.send = nil
		box.mu.Unlock()
		close(free)
		o.Close()
		got := box.messages()
		if len(got) != news.MaxQueued+1 {
			t.Fatalf("%d messages", len(got))
		}
		last := got[news.MaxQueued]
		for i, m := range got[:news.MaxQueued] {
			if m.Total != i || m.Event != actions.EventFound {
				t.Fatalf("message %d is number %d", i, m.Total)
			}
		}
		// One was under way, and 63 waited apart.
		if last.Event != actions.EventSum || last.Total != 40 || last.Rule != "r" || !slices.Equal(last.Counts, []actions.Count{{What: "r found", Count: 40}}) {
			t.Errorf("the rest is %+v", last)
		}
	})
}

// There is a pause between two messages to one receiver, but none before the first or
// after the last.
func TestMessageRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := &mailbox{}
		o, _ := box.outbox()
		start := time.Now()
		for range 3 {
			o.Enqueue(t.Context(), "ops", to("ops"), actions.Message{})
		}
		o.Enqueue(t.Context(), "dev", to("dev"), actions.Message{}) // does not wait for others
		o.Close()
		var after []time.Duration
		for _, at := range box.at {
			after = append(after, at.Sub(start))
		}
		slices.Sort(after)
		if !slices.Equal(after, []time.Duration{0, 0, news.Between, 2 * news.Between}) {
			t.Errorf("sent after %v", after)
		}
		if took := time.Since(start); took != 2*news.Between {
			t.Errorf("closed after %s", took)
		}
	})
}

// The end of a run waits only so long for a dead receiver, and ends its goroutines.
func TestCloseGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := &mailbox{send: hang}
		o, j := box.outbox()
		for range 3 {
			o.Enqueue(t.Context(), "ops", to("ops"), actions.Message{Rule: "r"})
		}
		start := time.Now()
		o.Close()
		if took := time.Since(start); took != news.Farewell {
			t.Errorf("closed after %s", took)
		}
		if len(j.lines("messages given up")) != 1 || len(j.lines("level=WARN", "message not delivered", "name=ops", "rule=r", "context canceled")) != 1 || len(j.lines("messages were not delivered", "count=3")) != 1 {
			t.Errorf("said %q", j.lines())
		}
		synctest.Wait() // nothing is left, or the bubble would not end
	})
}

// Not even a receiver that ignores everything keeps the program alive.
func TestCloseGivesUpOnDeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		free := make(chan struct{})
		box := &mailbox{send: func(context.Context) error { <-free; return nil }}
		o, j := box.outbox()
		o.Enqueue(t.Context(), "ops", to("ops"), actions.Message{})
		start := time.Now()
		o.Close()
		if took := time.Since(start); took != news.Farewell+news.Grace {
			t.Errorf("closed after %s", took)
		}
		if len(j.lines("a notifier does not stop")) != 1 {
			t.Errorf("said %q", j.lines())
		}
		close(free)
	})
}

// A receiver whose configuration changes is replaced; what waits for the old one is still
// delivered. A receiver that cannot be made is reported, and harms nobody.
func TestReconfiguredNotifier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := &mailbox{}
		o, j := box.outbox()
		for i, config := range []rules.Notifier{to("a"), to("a"), to("b"), to("nowhere"), to("nowhere"), {Plugin: "none"}, {Plugin: "none"}, to("a")} {
			o.Enqueue(t.Context(), "ops", config, actions.Message{Total: i})
		}
		o.Close()
		var got []int
		for _, m := range box.messages() {
			got = append(got, m.Total)
		}
		slices.Sort(got)
		if !slices.Equal(got, []int{0, 1, 2, 7}) {
			t.Errorf("delivered %v", got)
		}
		if a, b := len(j.lines("level=ERROR", "there is no such place")), len(j.lines("level=ERROR", "no such notifier", "plugin=none")); a != 2 || b != 2 {
			t.Errorf("said %d and %d times", a, b)
		}
		o.Close() // a second time does nothing
	})
}

// An outage is reported once when it begins, and when it is over. What comes meanwhile is
// delivered then, in order and once; what is refused for good is not sent again.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		box := &mailbox{}
		box.send = func(context.Context) error {
			switch {
			case time.Since(began) < time.Hour:
				return errors.New("503")
			case box.got[len(box.got)-1].Total == 7:
				return &actions.FinalError{Err: errors.New("400")}
			}
			return nil
		}
		o, j := box.outbox()
		for i := range 30 {
			o.Enqueue(t.Context(), "ops", to("ops"), actions.Message{Rule: "r", Total: i})
			<-time.After(2 * time.Minute)
		}
		<-time.After(5 * time.Minute)
		tried := map[int]int{}
		var order []int
		for _, m := range box.messages() {
			if tried[m.Total]++; tried[m.Total] == 1 {
				order = append(order, m.Total)
			}
		}
		if len(order) != 30 || !slices.IsSorted(order) || tried[0] < 50 || tried[0] > 80 || tried[7] != 1 || tried[29] != 1 {
			t.Errorf("sent %v, the first %d times", order, tried[0])
		}
		if a, b := j.lines("level=WARN", "message not delivered, trying again", "error=503"), j.lines("level=INFO", "messages are delivered again", "lost=0"); len(a) != 1 || len(b) != 1 {
			t.Errorf("said %q and %q", a, b)
		}
		if lines := j.lines("level=WARN", `msg="message not delivered"`, "error=400"); len(lines) != 1 {
			t.Errorf("said %q", lines)
		}
		o.Close()
	})
}

// What could not be delivered until the end is counted.
func TestUndelivered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := &mailbox{send: func(context.Context) error { return errors.New("503") }}
		o, j := box.outbox()
		for range 2 {
			o.Enqueue(t.Context(), "ops", to("ops"), actions.Message{Rule: "r"})
		}
		began := time.Now()
		o.Close()
		if took := time.Since(began); took != news.Farewell {
			t.Errorf("gave up after %s", took)
		}
		if len(j.lines("level=WARN", "message not delivered", "error=503")) != 1 || len(j.lines("level=WARN", "messages were not delivered", "count=2")) != 1 {
			t.Errorf("said %q", j.lines())
		}
	})
}

// A receiver with a rate gets so many messages a minute, and the rest in one.
func TestRateSumsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		box := &mailbox{}
		o, _ := box.outbox()
		config := rules.Notifier{Plugin: "box", Params: map[string]any{"rate": 3.0}}
		start := time.Now()
		for i := range 20 {
			o.Enqueue(t.Context(), "ops", config, actions.Message{Rule: []string{"a", "b"}[i%2], Event: actions.EventFound})
			<-time.After(time.Second)
		}
		<-time.After(5 * time.Minute)
		o.Enqueue(t.Context(), "ops", config, actions.Message{Rule: "b", Event: actions.EventOver})
		o.Close()
		got := box.messages()
		if len(got) != 5 {
			t.Fatalf("%d messages: %+v", len(got), got)
		}
		rest := got[3]
		if rest.Event != actions.EventSum || rest.Total != 17 || rest.Rule != "" || !slices.Equal(rest.Counts, []actions.Count{{What: "b found", Count: 9}, {What: "a found", Count: 8}}) {
			t.Errorf("%+v", rest)
		}
		if after := box.at[3].Sub(start); after != time.Minute {
			t.Errorf("the rest comes after %s", after)
		}
		if last := got[4]; last.Event != actions.EventOver || last.Rule != "b" {
			t.Errorf("%+v", last)
		}
	})
}

// A watcher whose receiver hangs goes on as usual, and ends without it.
func TestWatchWithHangingNotifier(t *testing.T) {
	socklab.LeakCheck(t)
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	holder(t, c)
	box := &mailbox{send: hang}
	w := &watched{lab: newLab(t, Options{Notify: true, Notifiers: []actions.NotifierPlugin{box.plugin()}}, keeper()), done: make(chan error, 1)}
	w.news.Outbox.Farewell = 10 * time.Millisecond
	p := w.notifyingRules(t, ruleFile(port(c), "keep", "notify: [ops]"))
	w.start(t, 5*time.Millisecond, func() (*rules.Program, []string, error) { return p, nil, nil })
	socklab.WaitFor(t, "the message", func() bool { return len(box.messages()) == 1 })
	n := w.cycles()
	socklab.WaitFor(t, "more cycles", func() bool { return w.cycles() > n+10 })
	w.end(t)
	w.Close()
	if len(w.journal.lines("messages given up")) != 1 {
		t.Error("the end is not said")
	}
}

// notify test sends at once and says how it went.
func TestNotify(t *testing.T) {
	box := &mailbox{}
	plugins := []actions.NotifierPlugin{box.plugin()}
	must(t, "notify", news.Send(t.Context(), plugins, to("ops"), actions.Message{Rule: "r"}))
	if got := box.messages(); len(got) != 1 || got[0].Rule != "r" {
		t.Errorf("%+v", got)
	}
	box.send = func(context.Context) error { return errors.New("503") }
	for want, config := range map[string]rules.Notifier{
		"503": to("ops"), "box: there is no such place": to("nowhere"), `no notifier plugin "fax"`: {Plugin: "fax"},
	} {
		if err := news.Send(t.Context(), plugins, config, actions.Message{}); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
