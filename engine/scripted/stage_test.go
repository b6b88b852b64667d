package scripted_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/actions/destroy"
	actionlog "sockwarden/actions/log"
	"sockwarden/actions/restart"
	"sockwarden/actions/signal"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/catalog"
	"sockwarden/engine/scripted"
	"sockwarden/rules"
)

// midday is when the tests begin.
var midday = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

// live is an engine that acts.
var live = engine.Options{Live: true}

// stage is a scripted world with an engine in it.
type stage struct {
	*engine.Engine
	*scripted.World
	t        *testing.T
	log      *journal
	registry *actions.Registry
	opened   engine.Options
}

// newStage makes a world, and an engine that knows some real actions and the scripts.
func newStage(t *testing.T, o engine.Options, scripts ...*scripted.Script) *stage {
	t.Helper()
	s := &stage{World: scripted.New(midday), t: t, log: &journal{}}
	plugins := s.Actions(destroy.Plugin(), signal.Plugin(), restart.Plugin(), actionlog.Plugin(s.log.logger()))
	for _, script := range scripts {
		plugins = append(plugins, script.Plugin())
	}
	var err error
	s.registry, err = actions.NewRegistry(plugins...)
	s.must(err)
	s.open(o)
	t.Cleanup(func() { s.Close() })
	return s
}

// open puts an engine into the world.
func (s *stage) open(o engine.Options) {
	s.t.Helper()
	s.opened = o
	o.Sources, o.World, o.Logger = []collectors.Plugin{s.Source()}, s.World.World(), s.log.logger()
	if o.Events == "" {
		o.Events = engine.EventsOn
	}
	var err error
	s.Engine, err = engine.New(o)
	s.must(err)
}

// restart replaces the engine with a new one.
func (s *stage) restart(o engine.Options) {
	s.t.Helper()
	s.Close()
	s.open(o)
}

// beside puts another engine into the same world.
func (s *stage) beside(o engine.Options) *stage {
	s.t.Helper()
	other := *s
	other.open(o)
	s.t.Cleanup(func() { other.Close() })
	return &other
}

func (s *stage) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// rule is the text of one rule, named r; more are its further keys.
func rule(when, then string, more ...string) string {
	text := "rules:\n  - name: r\n    when: '" + strings.ReplaceAll(when, "'", "''") + "'\n    then: [" + then + "]\n"
	for _, m := range more {
		text += "    " + m + "\n"
	}
	return text
}

// rules loads one rule.
func (s *stage) rules(when, then string, more ...string) *rules.Program {
	s.t.Helper()
	return s.file(rule(when, then, more...))
}

// file loads the text of a file.
func (s *stage) file(text string) *rules.Program {
	s.t.Helper()
	text = "version: 1\ntimezone: UTC\n" + text
	path := filepath.Join(s.t.TempDir(), "rules.yaml")
	s.must(os.WriteFile(path, []byte(text), 0o600))
	p, _, err := rules.Load(rules.Options{Paths: []string{path}, Catalog: catalog.New(s.registry)})
	if err != nil {
		s.t.Fatalf("%v\n%s", err, text)
	}
	return p
}

// run runs a cycle with its ladders to their end.
func (s *stage) run(p *rules.Program) *engine.Report {
	s.t.Helper()
	r, err := s.Cycle(s.t.Context(), p)
	s.must(err)
	s.Finish(s.t.Context(), r)
	return r
}

// decided runs a cycle to the end of its ladders and returns what came of each socket, in
// the order of their ports.
func (s *stage) decided(p *rules.Program) string {
	s.t.Helper()
	r := s.run(p)
	for _, err := range r.Errors {
		if !strings.HasPrefix(err.Error(), "breaker") {
			s.t.Error(err)
		}
	}
	return summed(r)
}

// summed returns what came of each finding.
func summed(r *engine.Report) string {
	counts, order := map[string]int{}, []string(nil)
	for _, f := range r.Findings {
		text := string(f.Decision)
		for _, a := range f.Actions {
			text += fmt.Sprintf(" %s %s", a.Action, a.Result)
		}
		if counts[text]++; counts[text] == 1 {
			order = append(order, text)
		}
	}
	for i, text := range order {
		order[i] = fmt.Sprintf("%d %s", counts[text], text)
	}
	return strings.Join(order, ", ")
}

// expect runs a cycle and compares the result of decided.
func (s *stage) expect(p *rules.Program, want string) {
	s.t.Helper()
	if got := s.decided(p); got != want {
		s.t.Errorf("at %s: %q, not %q", s.Now().Format(time.TimeOnly), got, want)
	}
}

// state returns a path for a state file.
func (s *stage) state() string { return filepath.Join(s.t.TempDir(), "state.json") }

// app is an ordinary process.
func app(pid int) collectors.Owner { return collectors.Owner{PID: pid, Name: "app"} }

// sockets adds sockets of one process that have been in their state for a while; PID 0
// means no process.
func (s *stage) sockets(n int, state collectors.State, age time.Duration, pid int) (all []*scripted.Socket) {
	for range n {
		if pid == 0 {
			all = append(all, s.Add(collectors.Socket{State: state}, age))
			continue
		}
		all = append(all, s.Add(collectors.Socket{State: state}, age, app(pid)))
	}
	return all
}

// leak adds sockets in CLOSE_WAIT that a program forgot.
func (s *stage) leak(n int, age time.Duration) []*scripted.Socket {
	return s.sockets(n, collectors.CloseWait, age, 7)
}

const (
	closeWait = `state == "CLOSE_WAIT"`
	hung      = `state == "CLOSE_WAIT" && age > 60`
)

// peers is a condition for some sockets, by their remote ports.
func peers(all ...*scripted.Socket) string {
	var ports []string
	for _, c := range all {
		ports = append(ports, fmt.Sprint(c.RemotePort))
	}
	return "remote_port in [" + strings.Join(ports, ", ") + "]"
}

// findingsOf returns the findings about a socket, in the order of the rules.
func findingsOf(r *engine.Report, c *scripted.Socket) []*engine.Finding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f *engine.Finding) bool {
		return f.Socket.Cookie != c.Cookie || f.Socket.NetNS != c.NetNS
	})
}

// findingOf returns the only finding about a socket.
func (s *stage) findingOf(r *engine.Report, c *scripted.Socket) *engine.Finding {
	s.t.Helper()
	found := findingsOf(r, c)
	if len(found) != 1 {
		s.t.Fatalf("socket %d: %d findings, not one\n%s", c.Cookie, len(found), describe(r))
	}
	return found[0]
}

// expectOf checks decision, reason (a part of it) and results of the only finding about a
// socket.
func (s *stage) expectOf(r *engine.Report, c *scripted.Socket, d engine.Decision, reason string, results ...actions.Result) {
	s.t.Helper()
	s.expectFinding(s.findingOf(r, c), d, reason, results...)
}

func (s *stage) expectFinding(f *engine.Finding, d engine.Decision, reason string, results ...actions.Result) {
	s.t.Helper()
	if got := resultsOf(f); f.Decision != d || !strings.Contains(f.Reason, reason) || !slices.Equal(got, results) {
		s.t.Errorf("got %s, want %s %q %v", line(f), d, reason, results)
	}
}

func resultsOf(f *engine.Finding) (all []actions.Result) {
	for _, a := range f.Actions {
		all = append(all, a.Result)
	}
	return all
}

// expectTally compares the number of findings for each decision.
func (s *stage) expectTally(r *engine.Report, want map[engine.Decision]int) {
	s.t.Helper()
	got := map[engine.Decision]int{}
	for _, f := range r.Findings {
		got[f.Decision]++
	}
	if !maps.Equal(got, want) {
		s.t.Errorf("decisions %v, want %v; errors %v\n%s", got, want, r.Errors, describe(r))
	}
}

func (s *stage) noErrors(r *engine.Report) {
	s.t.Helper()
	for _, err := range r.Errors {
		s.t.Errorf("report: %v", err)
	}
}

// decisions returns the decisions about one socket, in the order of the rules.
func decisions(r *engine.Report, c *scripted.Socket) string {
	var all []string
	for _, f := range findingsOf(r, c) {
		all = append(all, f.Rule.Name+" "+string(f.Decision))
	}
	return strings.Join(all, ", ")
}

func line(f *engine.Finding) string {
	text := fmt.Sprintf("%s %s %d: %s %q", f.Rule.Name, f.Socket.State, f.Socket.Cookie, f.Decision, f.Reason)
	for _, a := range f.Actions {
		text += fmt.Sprintf(" [%s %s %s %s]", a.Action, a.Result, a.Error, a.Detail)
	}
	return text
}

func describe(r *engine.Report) string {
	var lines []string
	for _, f := range r.Findings {
		lines = append(lines, line(f))
	}
	return strings.Join(lines, "\n")
}

// keeper is an action that leaves everything as it is.
func keeper() *scripted.Script {
	return scripted.Coming("keep", scripted.Outcome{Result: actions.Refused})
}

// journal keeps the lines that an engine logs; different goroutines write and read it.
type journal struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

// lines returns the lines that contain all of the words.
func (j *journal) lines(words ...string) (found []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for text := range strings.Lines(j.text.String()) {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) }) {
			found = append(found, strings.TrimSuffix(text, "\n"))
		}
	}
	return found
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// poker is an action on processes that leaves them as they are.
func poker() *scripted.Script {
	s := scripted.Coming("poke", scripted.Outcome{Result: actions.Done})
	s.Scope = actions.ScopeProcess
	return s
}
