package engine

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/actions/abort"
	"sockwarden/actions/destroy"
	actionlog "sockwarden/actions/log"
	"sockwarden/actions/repair"
	"sockwarden/actions/shutdown"
	"sockwarden/actions/signal"
	"sockwarden/collectors"
	"sockwarden/collectors/procnet"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/catalog"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

func TestMain(m *testing.M) {
	socklab.Enter()
	runChild()
	socklab.Waiting()
	os.Exit(m.Run())
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
func (j *journal) lines(words ...string) []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []string
	for line := range strings.Lines(j.text.String()) {
		all := true
		for _, w := range words {
			all = all && strings.Contains(line, w)
		}
		if all {
			found = append(found, strings.TrimSuffix(line, "\n"))
		}
	}
	return found
}

func (j *journal) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(j, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// lab is an engine with the real plugins and what else a test wants.
type lab struct {
	*Engine
	actions *actions.Registry
	journal *journal
}

// realActions are the actions that the program is built with.
func realActions(log *slog.Logger) []actions.Plugin {
	return []actions.Plugin{destroy.Plugin(), abort.Plugin(), shutdown.Plugin(), repair.Plugin(), signal.Plugin(), actionlog.Plugin(log)}
}

func registry(t testing.TB, plugins ...actions.Plugin) *actions.Registry {
	t.Helper()
	r, err := actions.NewRegistry(plugins...)
	must(t, "registry", err)
	return r
}

// newLab makes an engine that lives until the end of the test. It fills in Sources and
// Logger, and adds scripted actions to the real ones.
func newLab(t testing.TB, o Options, scripted ...*script) *lab {
	t.Helper()
	l, err := openLab(t, o, scripted...)
	must(t, "new engine", err)
	t.Cleanup(l.Close)
	return l
}

func openLab(t testing.TB, o Options, scripted ...*script) (*lab, error) {
	t.Helper()
	socklab.Need(t)
	l := &lab{journal: &journal{}}
	o.Logger = l.journal.logger()
	if o.Sources == nil {
		o.Sources = []collectors.Plugin{sockdiag.Plugin(), procnet.Plugin()}
	}
	plugins := realActions(o.Logger)
	for _, s := range scripted {
		plugins = append(plugins, s.plugin())
	}
	l.actions = registry(t, plugins...)
	if o.World == nil {
		host, err := world.NewLinux(o.Owners, 1, o.Logger) // tests drop the privileges of one thread
		if err != nil {
			return l, err
		}
		t.Cleanup(host.Close)
		o.World = &host.World
	}
	var err error
	if l.Engine, err = New(o); err == nil {
		if l.hand != nil {
			l.hand.SettleTime = 30 * time.Millisecond
		}
	}
	return l, err
}

// watching makes the engine believe that cycles keep coming.
func (l *lab) watching() *lab {
	l.judge.Repeats, l.looker.Horizon = true, time.Nanosecond
	return l
}

// stranger makes the engine believe that it runs in another process. Otherwise everything
// that the tests themselves hold is its own.
func (l *lab) stranger() *lab {
	l.world.Self.PID = -1
	return l
}

// rung is a rung without parameters.
func (l *lab) rung(t testing.TB, name string) rules.Rung {
	t.Helper()
	plugin, err := l.actions.Get(name)
	must(t, "action", err)
	rung, err := catalog.Rung(&plugin, nil)
	must(t, "rung", err)
	return rung
}

// rules loads the text of one file.
func (l *lab) rules(t testing.TB, text string) *rules.Program {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rules.yaml")
	must(t, "write rules", os.WriteFile(path, []byte(text), 0o600))
	p, _, err := rules.Load(rules.Options{Paths: []string{path}, Catalog: catalog.New(l.actions)})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return p
}

// ruleFile is a file with one rule, named r, with the given condition and actions; more
// holds further keys of the rule.
func ruleFile(when, then string, more ...string) string {
	text := "version: 1\nrules:\n  - name: r\n    when: " + when + "\n    then: [" + then + "]\n"
	for _, m := range more {
		text += "    " + m + "\n"
	}
	return text
}

func (l *lab) cycle(t testing.TB, p *rules.Program) *report.Report {
	t.Helper()
	r, err := l.Cycle(t.Context(), p)
	must(t, "cycle", err)
	return r
}

// run is a cycle that takes the ladders to their end.
func (l *lab) run(t testing.TB, p *rules.Program) *report.Report {
	t.Helper()
	r := l.cycle(t, p)
	l.Finish(t.Context(), r)
	return r
}

// program is the name of the tests' processes, that of the binary.
func program() string { return filepath.Base(os.Args[0]) }

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func noErrors(t testing.TB, r *report.Report) {
	t.Helper()
	for _, err := range r.Errors {
		t.Errorf("report: %v", err)
	}
}

func ends(s *collectors.Socket) (local, remote netip.AddrPort) {
	return netip.AddrPortFrom(s.Local.Netip(), s.LocalPort), netip.AddrPortFrom(s.Remote.Netip(), s.RemotePort)
}

// findingsOf are the findings about a lab socket, in the order of the rules.
func findingsOf(r *report.Report, c *socklab.Conn) []*report.Finding {
	var found []*report.Finding
	for _, f := range r.Findings {
		if l, rem := ends(&f.Socket); f.Socket.Protocol == c.Kind.Protocol() && l == c.Local && rem == c.Remote {
			found = append(found, f)
		}
	}
	return found
}

// findingOf is the only finding about a lab socket.
func findingOf(t testing.TB, r *report.Report, c *socklab.Conn) *report.Finding {
	t.Helper()
	found := findingsOf(r, c)
	if len(found) != 1 {
		t.Fatalf("%s %s %s: %d findings, not one\n%s", c.Kind, c.Local, c.Remote, len(found), describe(r))
	}
	return found[0]
}

// expect checks the decision, (part of) the reason and the results of one finding.
func expect(t testing.TB, f *report.Finding, d report.Decision, reason string, results ...actions.Result) {
	t.Helper()
	ok := f.Decision == d && strings.Contains(f.Reason, reason) && len(results) == len(f.Actions)
	for i := 0; ok && i < len(results); i++ {
		ok = results[i] == f.Actions[i].Result
	}
	if !ok {
		t.Errorf("got %s, want %s %q %v", line(f), d, reason, results)
	}
}

func line(f *report.Finding) string {
	local, remote := ends(&f.Socket)
	text := fmt.Sprintf("%s %s %s %s: %s %q", f.Rule.Name, f.Socket.State, local, remote, f.Decision, f.Reason)
	for _, a := range f.Actions {
		text += fmt.Sprintf(" [%s %s %s %s]", a.Action, a.Result, a.Error, a.Detail)
	}
	return text
}

func describe(r *report.Report) string {
	var lines []string
	for _, f := range r.Findings {
		lines = append(lines, line(f))
	}
	return strings.Join(lines, "\n")
}

// sockets are those that the tests' namespace has now, by cookie.
func sockets(t testing.TB) map[uint64]collectors.Socket {
	t.Helper()
	all := map[uint64]collectors.Socket{}
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP, collectors.UDP}, States: collectors.AllStates, Fields: collectors.InfoFields()}
	for s, err := range sockdiag.Plugin().New(-1).Collect(t.Context(), q) {
		must(t, "dump", err)
		all[s.Cookie] = *s
	}
	return all
}

// alive reports whether this very socket is still as it was made.
func alive(c *socklab.Conn) bool {
	s, ok := c.Now()
	return (ok || c.Kind == socklab.Bound) && (s == c.Kind.State() || c.Kind == socklab.Bound)
}

// script is an action that does what a test says, and records what it was asked to do.
type script struct {
	name      string
	onProcess bool
	program   bool
	harmless  bool
	single    bool
	prepare   func(actions.Target) error
	apply     func(actions.Target) actions.Outcome
	verify    func(actions.Target) actions.Outcome
	stop      func(actions.Target) actions.Outcome // nil for what cannot be stopped

	prepared, applied []actions.Target
}

// outcomes is an action whose Apply returns these results in turn, the last one for ever,
// and whose Verify confirms them.
func outcomes(name string, results ...actions.Outcome) *script {
	s := &script{name: name}
	s.apply = func(actions.Target) actions.Outcome { return results[min(len(s.applied), len(results))-1] }
	s.verify = s.apply
	return s
}

func (s *script) scope() actions.Scope {
	switch {
	case s.onProcess:
		return actions.ScopeProcess
	case s.single:
		return actions.ScopeSocket
	}
	return actions.ScopeNone
}

func (s *script) plugin() actions.Plugin {
	return actions.Plugin{
		Name: s.name, Summary: "for tests", Scope: s.scope(), Program: s.program, Harmless: s.harmless,
		Params: []actions.Param{
			{Name: "listen", Type: "bool", Allows: actions.AllowListen},
			{Name: "udp", Type: "bool", Allows: actions.AllowUDP},
			{Name: "owners", Type: "string", Allows: actions.AllowAllOwners, AllowsBy: "all"},
		},
		New: func(map[string]any) (actions.Action, error) { return s, nil },
	}
}

func (s *script) Prepare(_ context.Context, t actions.Target) (actions.Effect, error) {
	s.prepared = append(s.prepared, t)
	if s.prepare != nil {
		if err := s.prepare(t); err != nil {
			return nil, err
		}
	}
	if s.stop != nil {
		return &stoppable{scripted{s, t}}, nil
	}
	return &scripted{s, t}, nil
}

type scripted struct {
	*script
	target actions.Target
}

func (e *scripted) String() string { return e.name }

func (e *scripted) Apply(context.Context) actions.Outcome {
	e.applied = append(e.applied, e.target)
	return e.apply(e.target)
}

func (e *scripted) Verify(context.Context) actions.Outcome { return e.verify(e.target) }

type stoppable struct{ scripted }

func (e *stoppable) Stop(context.Context) actions.Outcome { return e.stop(e.target) }

// hostWorld is this host, with several goroutines looking at it.
func hostWorld(t testing.TB, owners world.OwnerSource, workers int) *world.World {
	t.Helper()
	host, err := world.NewLinux(owners, workers, slog.New(slog.DiscardHandler))
	must(t, "world", err)
	t.Cleanup(host.Close)
	return &host.World
}
