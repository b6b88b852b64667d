package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sockwarden/collectors/socklab"
)

// A relay is stuck if its client has stopped reading or is gone, but not if the client
// reads slowly, has nothing to send, or loses a few packets after a long rest. A device
// of the tailnet may sleep.
func TestExampleStuckRelay(t *testing.T) {
	if apart(t) {
		return
	}
	addr := serverAddr(socklab.IPv4, 21117)
	const here, there = "100.64.0.90", "100.64.0.91" // in the tailnet
	iproute(t, socklab.Home(t), "addr", "add", here+"/32", "dev", "lab0")
	iproute(t, socklab.Home(t), "route", "add", there+"/32", "dev", "lab0", "src", here)
	iproute(t, socklab.Peer(t), "addr", "add", there+"/32", "dev", "peer0")
	iproute(t, socklab.Peer(t), "route", "add", here+"/32", "dev", "peer0", "src", there)
	asleep := net.JoinHostPort(here, "21117")
	startServer(t, "listen="+addr, "listen="+asleep, "listen=:21116", "udp=:21116") // nothing is missing
	sleeps := dial(t, "sleeps", asleep, asksMuch)
	sleeps.vanish()
	stopped, gone := dial(t, "stopped", addr, asksMuch), dial(t, "gone", addr, asksMuch)
	busy, slow := dial(t, "busy", addr, asksMuch), dial(t, "slow", addr, asksMuch)
	silent, rested := dial(t, "silent", addr, asksNothing), dial(t, "rested", addr, asksBursts)
	clients := []*client{stopped, gone, sleeps, busy, slow, silent, rested}
	gone.vanish()
	busy.reads(1<<20, 0)
	slow.reads(20<<10, 20*time.Millisecond)
	rested.reads(1<<20, 0)
	const found, spared = "rustdesk-stuck-relay observe", "rustdesk-stuck-relay unless"
	state := filepath.Join(t.TempDir(), "state")
	audit := []string{"audit", "--rules", filepath.Join(root, "examples/rustdesk.yaml"), "--netns", "host", "--state-file", state, "--var", "relay_stuck=4"}
	until(t, clients, verdicts{"stopped": found, "gone": found, "sleeps": spared}, audit...)
	// Its kernel answers the window probes, ever less often.
	eventually(t, func() bool {
		end := serverSide(t)[stopped.port()]
		return end.IdleSend > 4 && end.AckIdle < 1
	}, func() string { return "no probe was answered" })
	if got := judge(t, clients, audit...); got["stopped"] != found {
		t.Errorf("just after an ACK of the one that stopped reading: %v", got)
	}
	rested.vanish()
	_, err := rested.Write([]byte{0})
	rested.must(err)
	until(t, clients, verdicts{"stopped": found, "gone": found, "sleeps": spared, "rested": found}, audit...)
	rested.comeBack()
	until(t, clients, verdicts{"stopped": found, "gone": found, "sleeps": spared}, audit...)

	rules := edited(t, "rustdesk.yaml", "mode: observe\n    then: [destroy]", "then: [destroy]")
	live := []string{"run", "--live", "--rules", rules, "--netns", "host", "--state-file", state, "--var", "relay_stuck=4"}
	untilDone(t, clients, verdicts{"stopped": "rustdesk-stuck-relay fd_still_held", "gone": "rustdesk-stuck-relay fd_still_held", "sleeps": spared}, live...)
	for _, c := range clients[2:] {
		c.lives()
	}
}

// hbbs leaks until it is near its limit of descriptors, and hbbr does not; then they end,
// one after the other. What only docker-proxy listens on still counts as missing.
func TestExampleRustDesk(t *testing.T) {
	if apart(t) {
		return
	}
	const limit = 48
	addr := serverAddr(socklab.IPv4, 21118)
	hbbs := startServer(t, "listen="+addr, "listen=:21115", "listen=:21116", "udp=:21116", "name=hbbs", fmt.Sprint("nofile=", limit))
	hbbr := startServer(t, "listen=:21117", "name=hbbr", fmt.Sprint("nofile=", limit))
	dial(t, "relayed", serverAddr(socklab.IPv4, 21117), asksNothing)
	inService(t, hbbs.Pid, "hbbs.service")
	var clients []*client
	have := func() int {
		fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", hbbs.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return len(fds)
	}
	for before := have(); before < limit-6; before = have() {
		c := dial(t, "leak", addr, asksNothing)
		clients = append(clients, c)
		c.must(c.CloseWrite())
		socklab.WaitFor(t, "the connection to be accepted", func() bool { return have() > before })
	}
	state := filepath.Join(t.TempDir(), "state")
	file := filepath.Join(root, "examples/rustdesk.yaml")
	holds := func(want verdicts, rule string, args ...string) {
		t.Helper()
		until(t, clients, want, append([]string{"audit", "--rules", file, "--rule", rule, "--netns", "host", "--state-file", state}, args...)...)
	}
	missing := func(want ...string) {
		t.Helper()
		var out string
		eventually(t, func() bool {
			_, out, _ = run(t, "audit", "--rules", file, "--rule", "hbbs-missing-tcp", "--rule", "hbbs-missing-udp", "--rule", "hbbr-missing",
				"--netns", "host", "--state-file", state, "-o", "json")
			var report struct {
				Findings []struct{ Rule, Decision string }
			}
			if err := json.Unmarshal([]byte(out), &report); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			var got []string
			for _, f := range report.Findings {
				got = append(got, f.Rule+" "+f.Decision)
			}
			return slices.Equal(got, want)
		}, func() string { return fmt.Sprintf("%q is missing:\n%s", want, out) })
	}
	holds(verdicts{"leak": "rustdesk-near-fd-limit pending"}, "rustdesk-near-fd-limit")
	holds(verdicts{}, "rustdesk-near-fd-limit", "--var", "fd_percent=99")
	holds(verdicts{"leak": "rustdesk-close-wait would"}, "rustdesk-close-wait", "--var", "close_wait_timeout=1")
	_, out, _ := run(t, "audit", "--rules", file, "--netns", "host", "--state-file", state, "--var", "close_wait_timeout=1", "-o", "json")
	if !strings.Contains(out, `"unit": "hbbs.service"`) {
		t.Errorf("the unit is not named:\n%s", out)
	}
	missing()
	spares(t, file, clients[0])

	end := func(p *os.Process) {
		t.Helper()
		if err := p.Kill(); err != nil {
			t.Fatal(err)
		}
		_, _ = p.Wait()
	}
	const tcp, udp, relay = "hbbs-missing-tcp pending", "hbbs-missing-udp pending", "hbbr-missing pending"
	end(hbbr)
	startServer(t, "listen=127.0.0.2:21117", "name=docker-proxy")
	missing(relay)
	end(hbbs)
	startServer(t, "listen=127.0.0.2:21116", "udp=127.0.0.2:21116", "name=docker-proxy")
	missing(tcp, udp, relay)
	startServer(t, "udp=127.0.0.3:21116", "listen=127.0.0.3:21117", "name=hbbs")
	missing(tcp)
}

// spares checks that kill drops the connections of clients, but neither an
// administrator's console nor the leak.
func spares(t *testing.T, file string, leaked *client) {
	t.Helper()
	var console net.Conn
	err := socklab.Home(t).Do(func() (err error) {
		console, err = net.Dial("tcp", "127.0.0.1:21115")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = console.Close() })
	served := dial(t, "served", serverAddr(socklab.IPv4, 21115), asksNothing)
	code, out, errs := run(t, "kill", "--rules", file, "--netns", "host", "-p", "rustdesk", "-s", "established", "-y")
	ends := serverSide(t)
	if port := uint16(console.LocalAddr().(*net.TCPAddr).Port); code != 0 || ends[port].State != "ESTABLISHED" || ends[served.port()].State != "" {
		t.Errorf("kill exits %d; console %q, client %q\n%s%s", code, ends[port].State, ends[served.port()].State, out, errs)
	}
	if end := ends[leaked.port()]; end.State != "CLOSE_WAIT" {
		t.Errorf("the leak is %q", end.State)
	}
}

// iproute runs ip in a namespace.
func iproute(t *testing.T, n *socklab.Namespace, args ...string) {
	t.Helper()
	err := n.Do(func() error {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestRustDeskCommands runs the commands of docs/rustdesk.md, all dry, and without the
// flag that has one look again after minutes.
func TestRustDeskCommands(t *testing.T) {
	socklab.Need(t)
	dir := t.TempDir()
	if err := os.CopyFS(filepath.Join(dir, "examples"), os.DirFS(filepath.Join(root, "examples"))); err != nil {
		t.Fatal(err)
	}
	runDocumented(t, dir, "docs/rustdesk.md", regexp.MustCompile(`(?m)^    sudo (sockwarden [^#\n]*)`), 10)
}
