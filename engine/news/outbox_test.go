package news

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"sockwarden/actions"
	"sockwarden/actions/webhook"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// journal is a log that a test reads.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(b)
}

// count is how many lines have all of these words.
func (j *journal) count(words ...string) (n int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for line := range strings.Lines(j.b.String()) {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			n++
		}
	}
	return n
}

// postbox is a notifier that keeps the numbers of the messages that it has taken, with where
// it was to send them; a test says what happens first.
type postbox struct {
	mu    sync.Mutex
	taken []string
	first func(ctx context.Context, to string) error
}

func (p *postbox) plugin() actions.NotifierPlugin {
	return actions.NotifierPlugin{Name: "box", New: func(params map[string]any) (actions.Notifier, error) {
		to, _ := params["to"].(string)
		if to == "nowhere" {
			return nil, errors.New("there is no such place")
		}
		return sender(func(ctx context.Context, m actions.Message) error {
			if err := p.first(ctx, to); err != nil {
				return err
			}
			p.mu.Lock()
			defer p.mu.Unlock()
			p.taken = append(p.taken, to+" "+m.Rule)
			return nil
		}), nil
	}}
}

type sender func(context.Context, actions.Message) error

func (s sender) Send(ctx context.Context, m actions.Message) error { return s(ctx, m) }

func (p *postbox) has(t *testing.T, want ...string) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Equal(p.taken, want) {
		t.Errorf("%q, not %q", p.taken, want)
	}
}

func box(to string) rules.Notifier {
	return rules.Notifier{Plugin: "box", Params: map[string]any{"to": to}}
}

// counter counts what comes of messages.
type counter struct {
	tally
	mu      sync.Mutex
	results map[string]int
}

func (c *counter) Failed(context.Context, time.Duration, error) {}

func (c *counter) Delivered(_, result string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.results[result]++
}

func (p *postbox) outbox() (*Outbox, *journal, *counter) {
	j, c := &journal{}, &counter{results: map[string]int{}}
	o := NewOutbox([]actions.NotifierPlugin{p.plugin()}, world.SystemClock(), slog.New(slog.NewTextHandler(j, nil)))
	o.counting = []Counting{c}
	return o, j, c
}

func (o *Outbox) send(ctx context.Context, config rules.Notifier, messages ...string) {
	for _, m := range messages {
		o.Enqueue(ctx, "ops", config, actions.Message{Rule: m, Event: actions.EventFound})
	}
}

func only(config rules.Notifier) map[string]rules.Notifier {
	return map[string]rules.Notifier{"ops": config}
}

var errAway = errors.New("503")

// away is a receiver that is reached only in the new way.
func away(_ context.Context, to string) error {
	if to == "old" {
		return errAway
	}
	return nil
}

// A receiver that rules describe otherwise during an outage gets what has waited, in order
// and at once, whether or not a new message comes.
func TestReplacedReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &postbox{first: away}
		o, j, c := p.outbox()
		o.send(t.Context(), box("old"), "a", "b", "c")
		<-time.After(time.Hour)
		p.has(t)
		o.Serve(only(box("nowhere"))) // no notifier can be made of this one: the old way counts
		o.Serve(only(box("nowhere")))
		synctest.Wait()
		began := time.Now()
		o.Serve(only(box("new")))
		<-time.After(3 * time.Second)
		p.has(t, "new a", "new b", "new c")
		o.Serve(only(box("new")))
		o.send(t.Context(), box("new"), "d")
		o.Close()
		p.has(t, "new a", "new b", "new c", "new d")
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("it took %s", took)
		}
		if j.count("what waits goes the new way", "name=ops", "waiting=3") != 1 || j.count("there is no such place") != 1 || j.count("messages are delivered again", "lost=0") != 1 || j.count("dropped") != 0 {
			t.Errorf("said\n%s", &j.b)
		}
		if c.results["sent"] != 4 || c.results["lost"] != 0 {
			t.Errorf("%v", c.results)
		}
	})
}

// An attempt that is under way when the rules change ends by itself, as the other side may
// have taken the message. One that does not end is left after a while.
func TestReplacedDuringAttempt(t *testing.T) {
	for name, c := range map[string]struct {
		answers time.Duration
		want    []string
		took    time.Duration
	}{
		"it is taken":  {3 * time.Second, []string{"old a", "new b"}, 3 * time.Second},
		"it hangs":     {time.Hour, []string{"new a", "new b"}, LastAttempt + Between},
		"it hangs not": {LastAttempt - 1, []string{"old a", "new b"}, LastAttempt - 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := &postbox{first: func(ctx context.Context, to string) error {
					if to == "new" {
						return nil
					}
					select {
					case <-time.After(c.answers):
						return nil
					case <-actions.Attempt(ctx).Done():
						return actions.Attempt(ctx).Err()
					}
				}}
				o, _, _ := p.outbox()
				o.send(t.Context(), box("old"), "a", "b")
				synctest.Wait()
				began := time.Now()
				o.Serve(only(box("new")))
				o.Close()
				p.has(t, c.want...)
				if took := time.Since(began); took != c.took {
					t.Errorf("it took %s, not %s", took, c.took)
				}
			})
		})
	}
}

// A receiver that rules no longer name ends at once. What waited for it is dropped, and one
// line says how much; if it comes back, it begins anew.
func TestRemovedReceiver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &postbox{first: func(ctx context.Context, to string) error {
			if to == "old" {
				<-ctx.Done()
				return ctx.Err()
			}
			return nil
		}}
		o, j, c := p.outbox()
		for range MaxQueued + 10 {
			o.send(t.Context(), box("old"), "a")
			synctest.Wait() // the first one is under way
		}
		o.Serve(nil)
		o.Serve(nil)
		synctest.Wait()
		if n := len(o.receivers); n != 0 || j.count("rules no longer name a receiver", "name=ops", "count=74") != 1 || c.results["lost"] != 74 {
			t.Errorf("%d receivers, %v, said\n%s", n, c.results, &j.b)
		}
		o.send(t.Context(), box("new"), "b")
		o.Serve(only(box("new")))
		synctest.Wait()
		o.Serve(nil) // nothing waits: nothing to say
		o.Close()
		p.has(t, "new b")
		if j.count("rules no longer name") != 1 || j.count("not delivered") != 0 || j.count("given up") != 0 {
			t.Errorf("said\n%s", &j.b)
		}
	})
}

// inbox is a server that counts what it takes, by the rule of the message.
type inbox struct {
	mu  sync.Mutex
	got map[string]int
}

func (b *inbox) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got[string(body)]++
}

// receivers serves three URLs, by the names of their environment variables: one that takes
// messages, one that hangs, and one that nobody has.
func receivers(t *testing.T) (b *inbox, works, hangs, refuses string) {
	t.Helper()
	b = &inbox{got: map[string]int{}}
	working := httptest.NewServer(b)
	t.Cleanup(working.Close)
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body) // or the server does not see the end of the connection
		<-r.Context().Done()
	}))
	t.Cleanup(hanging.Close)
	refusing := httptest.NewServer(nil)
	refusing.Close()
	works, hangs, refuses = "NEWS_TEST_WORKS", "NEWS_TEST_HANGS", "NEWS_TEST_REFUSES"
	t.Setenv(works, working.URL)
	t.Setenv(hangs, hanging.URL)
	t.Setenv(refuses, refusing.URL)
	return b, works, hangs, refuses
}

// A thousand reloads during an outage leave neither goroutines nor descriptors behind, and
// no message is lost or comes twice but those of a receiver that was removed.
func TestThousandReloads(t *testing.T) {
	socklab.LeakCheck(t)
	b, works, hangs, refuses := receivers(t)
	hook := func(env string) rules.Notifier {
		return rules.Notifier{Plugin: "webhook", Params: map[string]any{"url_env": env, "template": `{{json .rule}}`}}
	}
	j := &journal{}
	o := NewOutbox([]actions.NotifierPlugin{webhook.Plugin()}, world.SystemClock(), slog.New(slog.NewTextHandler(j, nil)))
	o.Between, o.lastAttempt = 0, 100*time.Millisecond
	before := runtime.NumGoroutine()
	for i := range 1000 {
		url := []string{hangs, refuses}[i%2]
		o.Serve(map[string]rules.Notifier{"kept": hook(url), "gone": hook(url)})
		if i%20 == 0 {
			o.Enqueue(t.Context(), "kept", hook(url), actions.Message{Rule: strconv.Itoa(i)})
		}
		o.Enqueue(t.Context(), "gone", hook(url), actions.Message{Rule: "gone"})
		o.Serve(map[string]rules.Notifier{"kept": hook(url)})
	}
	o.Serve(map[string]rules.Notifier{"kept": hook(hangs)})
	// One receiver is left, with one attempt under way, and two servers.
	socklab.WaitFor(t, "the goroutines of removed receivers to end", func() bool { return runtime.NumGoroutine() < before+30 })
	o.Serve(map[string]rules.Notifier{"kept": hook(works)})
	o.Close()
	if n := j.count("rules no longer name a receiver", "name=gone", "count=1"); n != 1000 {
		t.Errorf("%d messages dropped", n)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := 0; i < 1000; i += 20 {
		if n := b.got[strconv.Quote(strconv.Itoa(i))]; n != 1 {
			t.Errorf("message %d came %d times", i, n)
		}
	}
	if len(b.got) != 50 {
		t.Errorf("%v", b.got)
	}
}
