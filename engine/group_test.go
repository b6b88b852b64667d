package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
)

// groupRule is a file with a rule about many sockets.
func groupRule(when, group, having, then string, more ...string) string {
	return ruleFile("'"+when+"'", then, append([]string{"group: " + group, "having: " + having}, more...)...)
}

const closeWait = `state == "CLOSE_WAIT"`

// groupsOf returns the groups of the findings as JSON shows them, each once.
func groupsOf(t testing.TB, r *report.Report) []map[string]any {
	t.Helper()
	var all []map[string]any
	seen := map[string]bool{}
	for _, f := range document(t, r).Findings {
		g, ok := f["group"].(map[string]any)
		if !ok {
			t.Errorf("a finding without its group: %v", f)
			continue
		}
		if key := fmt.Sprint(g["key"]); !seen[key] {
			seen[key] = true
			all = append(all, g)
		}
	}
	return all
}

// If one process has more than N hung sockets, it gets one signal and no other process
// gets any.
func TestGroupOfProcess(t *testing.T) {
	many, few := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 50), socklab.Many(t, socklab.CloseWait, socklab.IPv4, 5)
	leaking, other := startChild(t, orders{Life: "counter"}, many...), startChild(t, orders{Life: "counter"}, few...)
	l := newLab(t, Options{Live: true})
	r := l.run(t, l.rules(t, groupRule(closeWait, "pid", "count > 5", "{signal: USR1}", "limits: {per_cycle: 1}")))
	noErrors(t, r)
	if len(r.Findings) != 50 || r.Summary.Matched != 50 {
		t.Errorf("%d findings, summary %+v", len(r.Findings), r.Summary)
	}
	for _, c := range many {
		if f := findingOf(t, r, c); f.Decision != report.DecideAct || len(f.Actions) != 1 {
			t.Error(line(f))
		}
	}
	for _, c := range few {
		if n := len(findingsOf(r, c)); n != 0 {
			t.Errorf("%d findings about the other process", n)
		}
	}
	groups := groupsOf(t, r)
	if len(groups) != 1 || groups[0]["count"] != float64(50) || fmt.Sprint(groups[0]["key"]) != fmt.Sprintf("map[pid:%d]", leaking.Process.Pid) {
		t.Errorf("groups %v", groups)
	}
	if fds, _ := groups[0]["fds"].(float64); fds < 53 || fds > 80 {
		t.Errorf("%v descriptors", groups[0]["fds"])
	}
	for who, want := range map[*child]string{leaking: "1", other: "0"} {
		if got := strings.TrimSpace(who.rest(t)); got != want {
			t.Errorf("%s signals, not %s", got, want)
		}
	}
}

// sweep destroys what the kernel still has in a state that outlives processes, now and
// after the test: other tests count sockets, too.
func sweep(t *testing.T, state collectors.State) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.Mask(state)}
	all := func() {
		c, err := sockdiag.Dial(-1)
		must(t, "dial", err)
		defer c.Close()
		for s, err := range sockdiag.Plugin().New(-1).Collect(ctx, q) {
			must(t, "dump", err)
			if err := c.Destroy(ctx, s); err != nil && !errors.Is(err, collectors.ErrGone) {
				t.Errorf("sweep: %v", err)
			}
		}
	}
	all()
	t.Cleanup(all)
}

// Sockets whose key is unknown, or that have none, are in no group.
func TestGroupNeedsKey(t *testing.T) {
	owned := []*socklab.Conn{socklab.Make(t, socklab.CloseWait, socklab.IPv4), socklab.Make(t, socklab.CloseWait, socklab.IPv4)}
	holder(t, owned...)
	sweep(t, collectors.TimeWait)
	for range 2 { // without an owner
		socklab.Make(t, socklab.TimeWait, socklab.IPv4)
	}
	l := newLab(t, Options{})
	counts := func(when, group string) []float64 {
		var r *report.Report
		p := l.rules(t, groupRule(when, group, "count > 0", "log"))
		must(t, "without capabilities", socklab.WithoutCapability(t, func() (err error) {
			r, err = l.Cycle(t.Context(), p)
			return err
		}, blind...))
		blindly := len(r.Findings)
		r = l.cycle(t, p)
		n := []float64{float64(blindly)}
		for _, g := range groupsOf(t, r) {
			n = append(n, g["count"].(float64))
		}
		return n
	}
	timeWait := `state == "TIME_WAIT"`
	for _, test := range []struct {
		when, group string
		want        []float64 // number of findings with owners hidden, then the groups' counts
	}{
		{closeWait, "pid", []float64{0, 2}},
		{closeWait, "process", []float64{0, 2}},
		{closeWait, "[process, pid]", []float64{0, 2}},
		{closeWait, "host", []float64{2, 2}},
		{closeWait, "netns", []float64{2, 2}},
		{closeWait, "remote_addr", []float64{2, 2}},
		{closeWait, "port", []float64{2, 1, 1}},
		{closeWait, "unit", []float64{0}},
		{closeWait, "container", []float64{0}},
		{timeWait, "pid", []float64{0}},
		{timeWait, "process", []float64{0}},
		{timeWait, "host", []float64{2, 2}},
		{timeWait, "[remote_addr, host]", []float64{2, 2}},
	} {
		if got := counts(test.when, test.group); !slices.Equal(got, test.want) {
			t.Errorf("%s by %s: %v, want %v", test.when, test.group, got, test.want)
		}
	}
}

// grower is a process that holds a socket and opens descriptors when told.
type grower struct {
	pid int
	in  io.Writer
	out *bufio.Reader
}

func startGrower(t *testing.T, c *socklab.Conn, limit int) *grower {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "/bin/sh", "-c", fmt.Sprintf(`ulimit -n %d; echo ready; while read -r what; do eval "exec $what"; echo done; done`, limit))
	fd, err := unix.FcntlInt(uintptr(c.FD), unix.F_DUPFD_CLOEXEC, 3)
	must(t, "dup", err)
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(fd), "socket")}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, "stdin", err)
	out, err := cmd.StdoutPipe()
	must(t, "stdout", err)
	must(t, "start", cmd.Start())
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	must(t, "hand over", cmd.ExtraFiles[0].Close())
	c.CloseFD()
	g := &grower{cmd.Process.Pid, in, bufio.NewReader(out)}
	g.expect(t, "ready")
	return g
}

func (g *grower) expect(t *testing.T, want string) {
	t.Helper()
	if got, err := g.out.ReadString('\n'); err != nil || got != want+"\n" {
		t.Fatalf("the shell says %q, %v", got, err)
	}
}

// redirect opens or closes descriptors: 4</dev/null, 4<&-.
func (g *grower) redirect(t *testing.T, all ...string) {
	t.Helper()
	for _, what := range all {
		_, err := io.WriteString(g.in, what+"\n")
		must(t, "tell the shell", err)
		g.expect(t, "done")
	}
}

// Findings of a group by process say how fast its descriptors grow and when it will run
// out of them, over two cycles or two runs.
func TestLeakEvidence(t *testing.T) {
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	const limit = 24
	g := startGrower(t, c, limit)
	path := filepath.Join(t.TempDir(), "state.json")
	l := newLab(t, Options{StateFile: path})
	look := func() map[string]any {
		t.Helper()
		groups := groupsOf(t, l.run(t, l.rules(t, groupRule(closeWait, "pid", "fds < fd_limit", "log"))))
		if len(groups) != 1 || fmt.Sprint(groups[0]["key"]) != "map[pid:"+strconv.Itoa(g.pid)+"]" || groups[0]["fd_limit"] != float64(limit) {
			t.Fatalf("groups %v", groups)
		}
		return groups[0]
	}
	number := func(m map[string]any, key string) float64 { v, _ := m[key].(float64); return v }
	before := world.Mono()
	first := look()
	between := world.Mono()
	if _, ok := first["fds_per_hour"]; ok {
		t.Errorf("a rate after one look: %v", first)
	}
	fds := number(first, "fds")
	g.redirect(t, "4</dev/null", "5</dev/null", "6</dev/null", "7</dev/null")
	again := world.Mono()
	second := look()
	after := world.Mono()
	shortest, longest := again-between, after-before
	if got := number(second, "fds"); got != fds+4 {
		t.Errorf("%v descriptors after %v", got, fds)
	}
	if rate := number(second, "fds_per_hour"); rate < 4/longest*3600 || rate > 4/shortest*3600 {
		t.Errorf("%v an hour, not between %v and %v", rate, 4/longest*3600, 4/shortest*3600)
	}
	left := limit - fds - 4
	if full := number(second, "full_in_seconds"); full < left*shortest/4*0.999 || full > left*longest/4*1.001 {
		t.Errorf("full in %v s, not between %v and %v", full, left*shortest/4, left*longest/4)
	}

	// The next run knows what this one saw.
	l.Close()
	l = newLab(t, Options{StateFile: path})
	third := look()
	if rate := number(third, "fds_per_hour"); rate <= 0 || rate >= number(second, "fds_per_hour") {
		t.Errorf("%v an hour after %v", rate, number(second, "fds_per_hour"))
	}
	// Below where it began there is no leak, and counting starts again from there.
	g.redirect(t, "4<&-", "5<&-", "6<&-", "7<&-", "2<&-")
	if fourth := look(); number(fourth, "fds") != fds-1 || fourth["fds_per_hour"] != nil {
		t.Errorf("after a fall: %v", fourth)
	}
	if fifth := look(); fifth["fds_per_hour"] != float64(0) || fifth["full_in_seconds"] != nil {
		t.Errorf("steady: %v", fifth)
	}
	// A process that is no longer seen is forgotten in time.
	l.memory.Expire(world.Mono() + 3601)
	if len(l.memory.Descriptors) != 0 {
		t.Errorf("remembered %v", l.memory.Descriptors)
	}
}
