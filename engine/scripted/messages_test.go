package scripted_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/engine"
	"sockwarden/engine/catalog"
	"sockwarden/engine/scripted"
	"sockwarden/rules"
)

// post delivers messages to several receivers.
type post struct {
	mu  sync.Mutex
	got []string // "EVENT TOTAL LASTED"
}

func (p *post) Send(_ context.Context, m actions.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.got = append(p.got, fmt.Sprintf("%s %d %s", m.Event, m.Total, time.Duration(m.Lasted*float64(time.Second)).Round(time.Second)))
	return nil
}

func (p *post) plugin(name string) actions.NotifierPlugin {
	return actions.NotifierPlugin{Name: name, Params: actions.DeliveryParams(), New: func(map[string]any) (actions.Notifier, error) { return p, nil }}
}

// notified loads one rule with three receivers.
func (s *stage) notified(plugins []actions.NotifierPlugin, text string) *rules.Program {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "rules.yaml")
	text = "version: 1\nactions:\n  plain: {plugin: plain}\n  often: {plugin: often, repeat: 10m}\n  short: {plugin: short, resolved: false}\n" + text
	s.must(os.WriteFile(path, []byte(text), 0o600))
	var known rules.Catalog
	for _, p := range plugins {
		known = append(known, rules.ActionSpec{Name: p.Name, Params: catalog.Params(p.Params), Bind: func(params map[string]any) (any, error) { return p.New(params) }})
	}
	p, _, err := rules.Load(rules.Options{Paths: []string{path}, Catalog: catalog.New(s.registry), Notifiers: known})
	s.must(err)
	return p
}

// What stands is told once, or again after a while to those who want that, and its end to
// those who want that. A restart changes nothing.
func TestRepeatAndResolved(t *testing.T) {
	plain, often, short := &post{}, &post{}, &post{}
	plugins := []actions.NotifierPlugin{plain.plugin("plain"), often.plugin("often"), short.plugin("short")}
	o := engine.Options{Live: true, Notify: true, Notifiers: plugins, StateFile: filepath.Join(t.TempDir(), "state.json")}
	keep := scripted.Coming("keep", scripted.Outcome{Result: actions.Refused})
	s := newStage(t, o, keep)
	leaks := s.leak(3, time.Second)
	p := s.notified(plugins, rule(closeWait, "keep", "limits: {cooldown: 24h}", "notify: [plain, often, short]"))
	cycle := func() {
		t.Helper()
		s.Tell(t.Context(), p, s.run(p))
	}
	for i := range 36 { // every minute
		cycle()
		s.Advance(time.Minute)
		if i == 14 {
			s.restart(o)
		}
	}
	for _, c := range leaks {
		s.Remove(c)
	}
	cycle()
	s.Advance(20 * time.Minute)
	cycle()
	s.leak(1, time.Second)
	cycle()
	s.Close() // delivers what is left
	for who, want := range map[*post]string{
		plain: "found 3 0s, over 0 36m0s, found 1 0s",
		often: "found 3 0s, stands 3 10m0s, stands 3 20m0s, stands 3 30m0s, over 0 36m0s, found 1 0s",
		short: "found 3 0s, found 1 0s",
	} {
		if got := strings.Join(who.got, ", "); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}

// A leak that grows is one message, and one more whenever it is half as large again; what
// fares otherwise, and each new group, is told at once. A restart changes nothing.
func TestGrowingLeakIsTold(t *testing.T) {
	plain := &post{}
	plugins := []actions.NotifierPlugin{plain.plugin("plain"), (&post{}).plugin("often"), (&post{}).plugin("short")}
	o := engine.Options{Live: true, Notify: true, Notifiers: plugins, StateFile: filepath.Join(t.TempDir(), "state.json")}
	fails := false
	keep := scripted.Coming("keep", scripted.Outcome{Result: actions.Refused})
	keep.Does = func(actions.Target) scripted.Outcome {
		if fails {
			return scripted.Outcome{Result: actions.Failed}
		}
		return scripted.Outcome{Result: actions.Refused}
	}
	s := newStage(t, o, keep)
	p := s.notified(plugins, rule(closeWait, "keep", "limits: {cooldown: 24h}", "notify: [plain]"))
	cycle := func() {
		t.Helper()
		s.Tell(t.Context(), p, s.run(p))
		s.Advance(10 * time.Second)
	}
	sockets := s.leak(1, time.Second)
	cycle()
	for i := range 99 {
		sockets = append(sockets, s.leak(1, time.Second)...)
		cycle()
		if i == 50 {
			s.restart(o)
		}
	}
	fails = true
	sockets = append(sockets, s.leak(1, time.Second)...)
	cycle()
	for _, c := range sockets {
		s.Remove(c)
	}
	cycle()
	s.leak(1, time.Second)
	cycle()
	s.Close()
	const want = "found 1 0s, found 2 0s, found 4 0s, found 7 0s, found 11 0s, found 17 0s, found 26 0s, found 40 0s, found 61 0s, found 92 0s, " +
		"found 1 0s, over 0 16m50s, found 1 0s"
	if got := strings.Join(plain.got, ", "); got != want {
		t.Errorf("%q, not %q", got, want)
	}
}

// Each new group is told, however many people know of.
func TestNewGroupsAreTold(t *testing.T) {
	plain := &post{}
	plugins := []actions.NotifierPlugin{plain.plugin("plain"), (&post{}).plugin("often"), (&post{}).plugin("short")}
	s := newStage(t, engine.Options{Notify: true, Notifiers: plugins}, scripted.Coming("keep", scripted.Outcome{Result: actions.Refused}))
	p := s.notified(plugins, rule(closeWait, "keep", "group: remote_port", "having: count > 0", "notify: [plain]"))
	for range 5 {
		s.leak(1, time.Second)
		s.Tell(t.Context(), p, s.run(p))
		s.Advance(10 * time.Second)
	}
	s.Close()
	if got := strings.Join(plain.got, ", "); got != "found 1 0s, found 1 0s, found 1 0s, found 1 0s, found 1 0s" {
		t.Errorf("%q", got)
	}
}

// Receivers follow the rules in force: one that these no longer name gets nothing of what
// waits, even if nothing new is found.
func TestRemovedReceiver(t *testing.T) {
	away := func(context.Context, actions.Message) error { return errors.New("503") }
	plugins := []actions.NotifierPlugin{
		{Name: "plain", New: func(map[string]any) (actions.Notifier, error) { return sender(away), nil }},
		(&post{}).plugin("often"), (&post{}).plugin("short"),
	}
	s := newStage(t, engine.Options{Live: true, Notify: true, Notifiers: plugins}, scripted.Coming("keep", scripted.Outcome{Result: actions.Refused}))
	s.leak(3, time.Second)
	p := s.notified(plugins, rule(closeWait, "keep", "limits: {cooldown: 24h}", "notify: [plain]"))
	s.Tell(t.Context(), p, s.run(p))
	p = s.rules(closeWait, "keep", "limits: {cooldown: 24h}")
	s.Tell(t.Context(), p, s.run(p))
	s.Close()
	if len(s.log.lines("rules no longer name a receiver", "name=plain", "count=1")) != 1 || len(s.log.lines("rules no longer name a receiver")) != 1 || len(s.log.lines("given up")) != 0 {
		t.Errorf("%s", s.log.lines())
	}
}

type sender func(context.Context, actions.Message) error

func (s sender) Send(ctx context.Context, m actions.Message) error { return s(ctx, m) }
