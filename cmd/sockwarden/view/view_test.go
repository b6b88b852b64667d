package view

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/doctor"
	"sockwarden/engine/pause"
	"sockwarden/rules"
)

// golden compares text with a file of testdata; UPDATE_GOLDEN=1 rewrites it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") == "1" {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; UPDATE_GOLDEN=1 rewrites it\n--- want\n%s\n--- got\n%s", name, want, got)
	}
}

// shown returns what a view writes.
func shown(t *testing.T, f Format, view func(o Out) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := view(Out{W: &b, Format: f, Width: 80}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// held is a connection of a process; more changes it.
func held(state collectors.State, port uint16, name string, pid int, more ...func(*engine.Candidate)) *engine.Candidate {
	known := collectors.Fields(collectors.FieldProtocol, collectors.FieldState, collectors.FieldPort, collectors.FieldRecvQueue, collectors.FieldSendQueue)
	s := collectors.Socket{
		Known: known, Protocol: collectors.TCP, State: state, LocalPort: port, RemotePort: 40000 + port%100, Inode: 7, Cookie: uint64(pid),
		Local: collectors.AddrFrom(netip.MustParseAddr("10.0.0.1")), Remote: collectors.AddrFrom(netip.MustParseAddr("203.0.113.9")),
	}
	owner := collectors.Owner{Known: collectors.Fields(collectors.FieldPID, collectors.FieldProcess, collectors.FieldFDLimit), PID: pid, Name: name, FDs: 9, FDLimit: 100}
	f := collectors.Facts{Age: collectors.Age{Min: 11520, Source: collectors.AgeTCPInfo}, Owners: []collectors.Owner{owner}}
	c := engine.NewCandidate(&s, &collectors.Namespace{Name: "host"}, &f)
	for _, m := range more {
		m(c)
	}
	return c
}

func recv(n uint32) func(*engine.Candidate) {
	return func(c *engine.Candidate) { c.Socket.RecvQueue = n }
}

func full(c *engine.Candidate) { c.Facts.Owners[0].FDs = 90 }

func also(name string, pid int) func(*engine.Candidate) {
	return func(c *engine.Candidate) {
		c.Facts.Owners = append(c.Facts.Owners, collectors.Owner{PID: pid, Name: name})
	}
}

func finding(rule string, d engine.Decision, reason string, c *engine.Candidate, results ...engine.ActionResult) *engine.Finding {
	return &engine.Finding{Rule: &rules.Rule{Name: rule, Then: []rules.Rung{{Action: "destroy"}}}, Decision: d, Reason: reason, Actions: results, Candidate: c}
}

func did(result actions.Result) engine.ActionResult {
	return engine.ActionResult{Action: "destroy", Result: result}
}

func setting() *Setting {
	return &Setting{Program: &rules.Program{Generation: "sha256:0123456789", Rules: make([]*rules.Rule, 2)}, By: "root (sudo: anna)"}
}

func dryReport() *engine.Report {
	return &engine.Report{
		Mode: "dry-run", Files: []rules.FileInfo{{Path: "/etc/sockwarden/rules.yaml"}}, Duration: 18 * time.Millisecond, Namespaces: 14,
		Errors:  []error{errors.New("it is cold"), &engine.SparedError{Sockets: 1, Why: "x"}, &engine.NamespaceError{Name: "x", Err: errors.New("away")}},
		Summary: engine.Summary{SocketsTotal: 20114, Scanned: 446, Matched: 5, WouldAct: 2, Observed: 1, Protected: 1, Skipped: 1},
		ByState: map[collectors.State]int{
			collectors.Established: 100, collectors.CloseWait: 300, collectors.Listen: 20, collectors.TimeWait: 10,
			collectors.FinWait2: 9, collectors.Closing: 4, collectors.LastAck: 3,
		},
		Unseen: 1, UnseenNamespaces: 2, AgeUnproven: 1, OwnersHidden: 3, HiddenWhy: "run as root",
		Findings: []*engine.Finding{
			finding("relay", engine.DecideObserve, "mode observe", held(collectors.Established, 21117, "hbbr", 1901)),
			finding("leak", engine.DecideAct, "", held(collectors.CloseWait, 21118, "hbbs", 1875, full), did(actions.Would)),
			finding("leak", engine.DecideAct, "", held(collectors.CloseWait, 21118, "hbbs", 1874, also("sshd", 9)), did(actions.Would)),
			finding("leak", engine.DecideProtect, "protect ssh", held(collectors.CloseWait, 22, "sshd", 9)),
			finding("leak", engine.DecideGuarded, "own session", held(collectors.CloseWait, 22, "sshd", 9)),
		},
	}
}

func TestReport(t *testing.T) {
	live := dryReport()
	live.Mode, live.Errors = "live", nil
	live.Findings[1].Actions = []engine.ActionResult{did(actions.Gone)}
	live.Findings[2].Actions = []engine.ActionResult{did(actions.Refused), {Action: "signal", Effect: "signal TERM", Result: actions.Failed, Error: "no such process", Process: "hbbs", PID: 1874}}
	live.Summary = engine.Summary{Scanned: 446, Matched: 5, Acted: 1, Failed: 1, Observed: 1, Protected: 1, Skipped: 1}
	quiet := &engine.Report{Mode: "dry-run", Files: []rules.FileInfo{{Path: rules.Builtin}}, Summary: engine.Summary{Scanned: 3, SocketsTotal: 2}}
	noDir := setting()
	noDir.Program.NoDefaultDir, noDir.Program.Breaker = true, rules.Breaker{Count: 7, ByHand: true}
	noDir.Pause = &pause.Pause{By: "anna"}
	for name, c := range map[string]struct {
		r *engine.Report
		s *Setting
	}{"report-dry.txt": {dryReport(), setting()}, "report-live.txt": {live, setting()}, "report-quiet.txt": {quiet, noDir}} {
		golden(t, name, shown(t, Text, func(o Out) error { return Report(o, c.r, c.s, Rows{}) }))
	}
}

// The last line says how to go on, with the flags that were given; while a pause is in
// force no live run acts.
func TestNext(t *testing.T) {
	last := func(s *Setting) string {
		lines := strings.Split(strings.TrimSpace(shown(t, Text, func(o Out) error { return Report(o, dryReport(), s, Rows{}) })), "\n")
		return lines[len(lines)-1]
	}
	s := setting()
	if got := last(s); got != "next: run --live acts; rules explain says why" {
		t.Error(got)
	}
	s.Flags = "--var a=1"
	if got := last(s); got != "next: run --live --var a=1 acts; rules explain says why" {
		t.Error(got)
	}
	s.Pause = &pause.Pause{By: "anna"}
	if got := last(s); got != "next: run --live --var a=1 acts once the pause is over; rules explain says why" {
		t.Error(got)
	}
}

// Many findings are shown in groups, the worst and the largest first, and only some of
// the groups, unless all or each is asked for.
func TestReportGroups(t *testing.T) {
	r := &engine.Report{Mode: "dry-run", Files: make([]rules.FileInfo, 4)}
	for port := range uint16(22) {
		for n := range int(port) + 1 {
			r.Findings = append(r.Findings, finding("leak", engine.DecideAct, "", held(collectors.CloseWait, 8000+port, "app", 100+n), did(actions.Would)))
		}
	}
	r.Findings = append(r.Findings, finding("late", engine.DecideAct, "", held(collectors.LastAck, 1, "app", 1), did(actions.Failed)))
	golden(t, "report-groups.txt", shown(t, Text, func(o Out) error { return Report(o, r, setting(), Rows{}) }))
	lines := func(rows Rows) int {
		return strings.Count(shown(t, Text, func(o Out) error { return Report(o, r, setting(), rows) }), "would act  ")
	}
	if n := lines(Rows{All: true}); n != 22 {
		t.Errorf("%d lines of groups", n)
	}
	if n := lines(Rows{Each: true}); n != len(r.Findings)-1 {
		t.Errorf("%d lines for %d findings", n, len(r.Findings))
	}
}

func TestReportJSON(t *testing.T) {
	out := shown(t, JSON, func(o Out) error { return Report(o, dryReport(), setting(), Rows{}) })
	for _, want := range []string{`  "mode": "dry-run"`, `"away"`, `"decision": "guarded"`} {
		if !strings.Contains(out, want) {
			t.Errorf("no %s in\n%s", want, out)
		}
	}
	out = shown(t, Lines, func(o Out) error { return Report(o, dryReport(), setting(), Rows{}) })
	if strings.Count(out, "\n") != 5 || strings.Count(out, `"rule":"leak"`) != 4 {
		t.Error(out)
	}
}

func TestTargets(t *testing.T) {
	find := func(cs ...*engine.Candidate) (all []*engine.Finding) {
		for _, c := range cs {
			all = append(all, finding("kill", engine.DecideAct, "", c, did(actions.Would)))
		}
		return all
	}
	none := func(*collectors.Owner) bool { return false }
	r := dryReport()
	var b strings.Builder
	o := Out{W: &b}
	Targets(o, r, find(sockets()[:3]...), Selection{Names: none})
	b.WriteByte('\n')
	Targets(o, r, find(sockets()[3:5]...), Selection{Names: func(*collectors.Owner) bool { return true }, Now: true})
	b.WriteByte('\n')
	Targets(o, &engine.Report{}, nil, Selection{Names: none})
	b.WriteByte('\n')
	Targets(o, &engine.Report{SparedUnseen: 1}, nil, Selection{Names: none})
	golden(t, "targets.txt", b.String())
}

func TestKilled(t *testing.T) {
	r := &engine.Report{Mode: "live", Summary: engine.Summary{Failed: 1}}
	for i, result := range []actions.Result{actions.Gone, actions.FDStillHeld, actions.Changed, actions.Refused} {
		a := did(result)
		a.Detail = "because " + string(result)
		r.Findings = append(r.Findings, finding("kill", engine.DecideAct, "", held(collectors.CloseWait, 80, "app", i), a))
	}
	var b strings.Builder
	Killed(Out{W: &b}, r)
	golden(t, "killed.txt", b.String())
}

func TestChecks(t *testing.T) {
	twice := "signal would not work (CAP_KILL); signal would not work (CAP_KILL)"
	checks := []doctor.Check{
		{Name: "CAP_KILL", Level: doctor.Warn, Detail: "missing", Cure: "run as root"},
		{Name: "CAP_BPF", Level: doctor.Warn, Detail: "missing: not permitted (load: operation not permitted)", Cure: "run as root"},
		{Name: "rule a", Level: doctor.Warn, Detail: twice},
		{Name: "rule b", Level: doctor.Warn, Detail: twice},
		{Name: "rule c", Level: doctor.Warn, Detail: twice},
		{Name: "rule d", Level: doctor.Warn, Detail: "something else"},
		{Name: "kernel", Level: doctor.OK, Detail: "Linux 6.12"},
		{Name: "a check with a very long name", Level: doctor.Fail, Detail: strings.Repeat("words of many letters ", 8), Cure: strings.Repeat("do what helps ", 9)},
		{Name: "evil\x1b[2J", Level: doctor.Warn, Detail: "line\nline"},
	}
	out := shown(t, Text, func(o Out) error { return Checks(o, checks) })
	golden(t, "checks.txt", out)
	for line := range strings.Lines(out) {
		if len(line) > 77 {
			t.Errorf("too wide: %q", line)
		}
	}
	if got := shown(t, Lines, func(o Out) error { return Checks(o, checks[:1]) }); !strings.HasSuffix(got, "\"works\":true}\n") {
		t.Error(got)
	}
}

// What others choose, such as the name of a process, cannot move the cursor of a
// terminal or begin a line.
func TestHostileNames(t *testing.T) {
	evil := "x\x1b[2J\nLIVE\u202e"
	c := held(collectors.CloseWait, 80, evil, 5, also(evil, 6))
	c.Facts.Owners[0].Container = evil
	f := finding("r", engine.DecideAct, "", c, engine.ActionResult{Action: "signal", Result: actions.FDStillHeld, Process: evil, PID: 5, Error: evil, Keepers: c.Facts.Owners})
	g := finding("r", engine.DecideGuarded, evil, c)
	g.Group = &engine.Group{Leak: &engine.Leak{PerHour: 3, FullIn: 60}}
	r := &engine.Report{Mode: "live", Findings: []*engine.Finding{f, g}}
	var b strings.Builder
	Targets(Out{W: &b}, r, r.Findings, Selection{Names: func(*collectors.Owner) bool { return false }})
	views := []string{
		b.String(),
		shown(t, Text, func(o Out) error { return Report(o, r, setting(), Rows{}) }),
		shown(t, Text, func(o Out) error {
			return List(o, &Listing{Sockets: []*engine.Candidate{c}, Columns: []collectors.Field{collectors.FieldProcess}, Report: r})
		}),
		shown(t, Text, func(o Out) error { return List(o, &Listing{Sockets: []*engine.Candidate{c}, Report: r}) }),
		shown(t, Text, func(o Out) error {
			return By(o, []*engine.Candidate{c}, &Grouping{Fields: []collectors.Field{collectors.FieldProcess}, Report: r})
		}),
	}
	for i, v := range views {
		if !strings.Contains(v, `x\x1b[2J\nLIVE\u202e`) {
			t.Errorf("view %d does not name it: %s", i, v)
		}
		if strings.ContainsAny(v, "\x1b\u202e") || strings.Contains(v, "\nLIVE\\") {
			t.Errorf("view %d: %q", i, v)
		}
	}
}

// A place is the container by its engine's name for it, with its service if the name does not
// tell, else by its id, else the namespace.
func TestPlaces(t *testing.T) {
	id := strings.Repeat("0123456789abcdef", 4)
	for want, o := range map[string]collectors.Owner{
		"host":        {},
		"docker:hbbs": {Container: id, Known: PlaceReads, ContainerNames: collectors.ContainerNames{Engine: "docker", ContainerName: "hbbs"}},
		"cri:relay/hbbs-0/hbbs": {
			Container: id, Known: PlaceReads, ContainerNames: collectors.ContainerNames{Engine: "cri", ContainerName: "hbbs", Pod: "relay/hbbs-0"},
		},
		"container:0123456789ab": {Container: id},
		"docker:relay (hbbs)":    {Container: id, Known: PlaceReads, ContainerNames: collectors.ContainerNames{Engine: "docker", ContainerName: "relay", ComposeService: "hbbs"}},
		"docker:a-hbbs-1":        {Container: id, Known: PlaceReads, ContainerNames: collectors.ContainerNames{Engine: "docker", ContainerName: "a-hbbs-1", ComposeService: "hbbs"}},
	} {
		c := held(collectors.CloseWait, 80, "app", 7, func(c *engine.Candidate) {
			o.Known.Add(c.Facts.Owners[0].Known)
			o.PID, o.Name = 7, "app"
			c.Facts.Owners[0] = o
		})
		if got := where(c); got != want {
			t.Errorf("%s, not %s", got, want)
		}
		line := shown(t, Text, func(o Out) error { return List(o, &Listing{Sockets: []*engine.Candidate{c}, Report: &engine.Report{}}) })
		if want != "host" && !strings.Contains(line, want) { // a column with the same value everywhere is left out
			t.Errorf("%s is not in %s", want, line)
		}
	}
}

func TestAges(t *testing.T) {
	for want, a := range map[string]collectors.Age{
		"?":      collectors.NoAge(),
		"59s":    {Min: 59.9, Max: 60, Bounded: true, Source: collectors.AgeEvent},
		">=1m0s": {Min: 60, Max: 62, Bounded: true, Source: collectors.AgeTimer},
		">=1h1m": {Min: 3661, Source: collectors.AgeObserved},
		"2d3h":   {Min: 2*86400 + 3*3600 + 59, Max: 2*86400 + 3*3600 + 59.5, Bounded: true, Source: collectors.AgeEvent},
	} {
		if got := ageText(a); got != want {
			t.Errorf("%+v: %s, not %s", a, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	got := fmt.Sprint(Count(0, "socket"), ", ", Count(1, "socket"), ", ", Count(2, "other network namespace"))
	if got != "0 sockets, 1 socket, 2 other network namespaces" {
		t.Error(got)
	}
}
