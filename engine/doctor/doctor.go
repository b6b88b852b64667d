// Package doctor finds out what sockwarden could do on this host.
//
// Comes in: a program of rules. Goes out: checks, each with its purpose. Its self-test
// destroys a loopback connection of its own; it touches nothing else.
package doctor

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/bpf"
	"sockwarden/collectors/containers"
	"sockwarden/collectors/host"
	"sockwarden/collectors/netns"
	"sockwarden/collectors/sockdiag"
	"sockwarden/rules"
)

// Level says how a check came out.
type Level string

// The levels. Only a Fail prevents a live run from working.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
)

// Check is one thing that doctor looked at.
type Check struct {
	Name   string `json:"name"`
	Level  Level  `json:"level"`
	Detail string `json:"detail"`
	// Cure says what to do, "" for nothing.
	Cure string `json:"cure,omitempty"`
}

// Plan is the live run in question.
type Plan struct {
	Program *rules.Program // nil leaves out the rules
	// Actions are all that rules can use.
	Actions *actions.Registry
	// StateFile is where the run would keep its memory, "" for nowhere.
	StateFile string
	// PauseFiles are the switches that would stop it.
	PauseFiles []string
	// Silences are the files of silences that it would obey.
	Silences []string
}

// Run performs all checks.
func Run(ctx context.Context, plan *Plan) []Check {
	checks := []Check{kernelVersion(plan.Actions), kernelConfig()}
	checks = append(checks, capabilities(plan)...)
	checks = append(checks, netlink(ctx, plan.Program), mptcp(ctx), destroyOwnPair(ctx), namespaces(), processes(ctx), cgroups(),
		engines(containers.New(containers.Options{Places: containers.Host()}).Asked(ctx), plan.Program), programs(),
		stateFile(plan.StateFile), noPause(plan.PauseFiles), silences(plan.Silences), watching())
	if plan.Program != nil {
		checks = append(checks, ruleChecks(ctx, plan, checks)...)
	}
	return checks
}

// Works reports whether a live run would work: no check failed.
func Works(checks []Check) bool {
	return !slices.ContainsFunc(checks, func(c Check) bool { return c.Level == Fail })
}

// configFiles is where distributions keep the kernel's configuration.
func configFiles(release string) []string {
	return []string{"/proc/config.gz", "/boot/config-" + release, "/lib/modules/" + release + "/config"}
}

func kernelConfig() Check {
	const option = "CONFIG_INET_DIAG_DESTROY"
	c := Check{Name: "kernel option", Level: OK, Detail: option + " cannot be read; the self-test tells"}
	k, err := host.RunningKernel()
	if err != nil {
		return c
	}
	for _, path := range configFiles(k.Release) {
		text, err := readConfig(path)
		if err != nil {
			continue
		}
		if bytes.Contains(text, []byte("\n"+option+"=y")) {
			c.Detail = fmt.Sprintf("%s=y (%s)", option, path)
		} else {
			c.Level, c.Detail = Warn, fmt.Sprintf("%s is off (%s)", option, path)
			c.Cure = "owned sockets can still be aborted through their process; others need a kernel with the option"
		}
		break
	}
	return c
}

func readConfig(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err //nolint:wrapcheck // not reported
	}
	defer func() { _ = f.Close() }()
	var r io.Reader = f
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(f); err != nil {
			return nil, err //nolint:wrapcheck // not reported
		}
	}
	return io.ReadAll(io.LimitReader(r, 4<<20)) //nolint:wrapcheck // not reported
}

func netlink(ctx context.Context, p *rules.Program) Check {
	c := Check{Name: "sock_diag", Level: OK}
	conn, err := sockdiag.Dial(-1)
	if err != nil {
		return Check{Name: c.Name, Level: Fail, Detail: err.Error(), Cure: "allow AF_NETLINK sockets (seccomp, RestrictAddressFamilies=)"}
	}
	defer func() { _ = conn.Close() }()
	counts, cure := []string{}, "modprobe tcp_diag udp_diag, or use a kernel with CONFIG_INET_DIAG"
	protocols := []collectors.Protocol{collectors.TCP, collectors.UDP}
	for _, protocol := range protocols {
		n := 0
		q := collectors.Query{Protocols: []collectors.Protocol{protocol}, States: collectors.AllStates}
		var err error
		for _, err = range conn.Dump(ctx, q) {
			if err != nil {
				break
			}
			n++
		}
		switch {
		case err == nil:
			counts = append(counts, fmt.Sprintf("%d %s", n, protocol))
		case p == nil || slices.Contains(p.Query.Protocols, protocol):
			return Check{Name: c.Name, Level: Fail, Detail: err.Error(), Cure: cure}
		default: // no rule asks about it
			c.Level, c.Cure = Warn, cure
			counts = append(counts, "no "+protocol.String())
		}
	}
	c.Detail = strings.Join(counts, ", ") + " sockets to be seen"
	return c
}

func namespaces() Check {
	c := Check{Name: "namespaces", Level: OK}
	all, hidden := netns.Every()
	if hidden != nil && !errors.Is(hidden, collectors.ErrNotPermitted) {
		return Check{Name: c.Name, Level: Warn, Detail: hidden.Error()}
	}
	var refused []string
	for _, h := range all[1:] {
		f, err := h.Open()
		if err == nil {
			var conn *sockdiag.Conn
			if conn, err = sockdiag.Dial(int(f.Fd())); err == nil {
				_ = conn.Close()
			}
			_ = f.Close()
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // that one has ended
			refused = append(refused, h.Name)
		}
	}
	c.Detail = fmt.Sprintf("%d network namespaces besides this one", len(all)-1)
	if len(all) == 2 {
		c.Detail = "1 network namespace besides this one"
	}
	if len(refused) > 0 {
		c.Level, c.Detail = Warn, fmt.Sprintf("%s, %d of them cannot be entered: %s", c.Detail, len(refused), strings.Join(refused[:min(3, len(refused))], ", "))
		c.Cure = "CAP_SYS_ADMIN"
	}
	if hidden != nil {
		c.Level, c.Detail, c.Cure = Warn, c.Detail+"; "+hidden.Error(), "CAP_SYS_ADMIN and CAP_SYS_PTRACE"
	}
	return c
}

func cgroups() Check {
	c := Check{Name: "cgroups", Level: Warn, Detail: "not mounted: units and containers are unknown"}
	text, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return c
	}
	v1, v2 := false, false
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 2 {
			v1, v2 = v1 || f[2] == "cgroup", v2 || f[2] == "cgroup2"
		}
	}
	switch {
	case v1 && v2:
		c.Level, c.Detail = OK, "version 1 and 2 (hybrid)"
	case v2:
		c.Level, c.Detail = OK, "version 2"
	case v1:
		c.Level, c.Detail = OK, "version 1"
	}
	return c
}

// programs tries to load the BPF programs. Where /proc shows everything, all works
// without them.
func programs() Check {
	c := Check{Name: "BPF", Level: OK, Detail: "owners without a walk through /proc; exact ages while watching"}
	o, err := bpf.OpenOwners()
	if err == nil {
		_ = o.Close()
		var e *bpf.Events
		if e, err = bpf.OpenEvents(bpf.EventOptions{Capacity: 1}); err == nil {
			_ = e.Close()
			return c
		}
		c.Detail = "no events, so ages as a look proves them"
	} else {
		c.Detail = "owners only through /proc, ages as a look proves them"
	}
	c.Level, c.Detail = Warn, fmt.Sprintf("%s (%v)", c.Detail, err)
	if c.Cure = "a kernel with BTF (CONFIG_DEBUG_INFO_BTF) and BPF iterators, Linux 5.11 or later"; errors.Is(err, collectors.ErrNotPermitted) {
		c.Cure = "give it CAP_BPF and CAP_PERFMON"
	}
	return c
}

// destroyOwnPair makes a loopback connection and destroys one of its ends.
func destroyOwnPair(ctx context.Context) Check {
	c := Check{Name: selfTestName, Level: OK, Detail: "a loopback connection of its own was destroyed and is gone"}
	err := selfTest(ctx)
	switch {
	case err == nil:
		return c
	case errors.Is(err, collectors.ErrNotPermitted):
		c.Cure = "CAP_NET_ADMIN in the user namespace that owns the network namespace"
	case errors.Is(err, collectors.ErrNotSupported):
		c.Cure = "use a kernel with CONFIG_INET_DIAG_DESTROY"
	}
	c.Level, c.Detail = Fail, err.Error()
	return c
}
