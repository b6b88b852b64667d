package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

// Databases with the keepalive that they set themselves: clients that answer are left
// alone or lose nothing, and those that are gone are found out.
func TestExampleHalfOpen(t *testing.T) {
	if apart(t) {
		return
	}
	addrs := map[string]string{}
	var listen []string
	for name, at := range map[string]struct {
		port      uint16
		keepalive string
	}{
		"postgres": {5432, ",7200,75,9"}, "mysql": {3306, ",7200,75,9"}, "redis": {6379, ",300,100,3"}, // as in Debian 12
		"other": {5431, ""},
	} {
		addrs[name] = serverAddr(socklab.IPv4, at.port)
		listen = append(listen, "listen="+addrs[name]+at.keepalive)
	}
	// The same ports at another address: one without keepalive, one with a quick one.
	addrs["none"], addrs["quick"] = serverAddr(socklab.IPv6, 5432), serverAddr(socklab.IPv6, 6379)
	startServer(t, append(listen, "listen="+addrs["none"], "listen="+addrs["quick"]+",1,1,100")...)
	busy := dial(t, "busy", addrs["postgres"], asksBursts)
	clients := []*client{busy, dial(t, "quick", addrs["quick"], asksNothing), dial(t, "other", addrs["other"], asksNothing)}
	want := verdicts{}
	for _, server := range []string{"postgres", "mysql", "redis", "none"} {
		for _, fate := range []string{"live", "dead"} {
			c := dial(t, server+" "+fate, addrs[server], asksNothing)
			clients, want[c.name] = append(clients, c), "database-clients would"
			if fate == "dead" {
				c.vanish()
			}
		}
	}
	go func() {
		for buf := make([]byte, 1<<20); ; time.Sleep(10 * time.Millisecond) {
			if _, err := busy.Write(buf[:1]); err != nil {
				return
			}
			if _, err := busy.Read(buf); err != nil {
				return
			}
		}
	}()
	state := filepath.Join(t.TempDir(), "state")
	rules := edited(t, "half-open.yaml", "{idle: 60s, interval: 10s, count: 6}", "{idle: 1s, interval: 1s, count: 3}")
	until(t, clients, want, "audit", "--rules", filepath.Join(root, "examples/half-open.yaml"), "--state-file", state, "--var", "silence=5s")
	for name := range want {
		want[name] = "database-clients repaired"
	}
	if got := judge(t, clients, "run", "--live", "--rules", rules, "--state-file", state, "--var", "silence=5s"); !maps.Equal(got, want) {
		t.Errorf("%v, not\n%v", got, want)
	}
	dead := func(c *client) bool { return strings.HasSuffix(c.name, " dead") }
	eventually(t, func() bool {
		left := serverSide(t)
		for _, c := range clients {
			if dead(c) && left[c.port()].State == "ESTABLISHED" {
				return false
			}
		}
		return true
	}, func() string { return "the dead ones are still there" })
	for _, c := range clients {
		if !dead(c) {
			c.lives()
		}
	}
}

// A virtual IP moves to another node: what was connected to it ends; what listens there
// or speaks from another address goes on.
func TestExampleAddressGone(t *testing.T) {
	t.Parallel() // no other test uses its address
	socklab.Need(t)
	const vip = "10.9.0.90"
	move := func(how string) {
		t.Helper()
		if out, err := exec.Command("ip", "addr", how, vip+"/32", "dev", "lab0").CombinedOutput(); err != nil {
			t.Fatalf("ip addr %s: %v: %s", how, err, out)
		}
	}
	move("add")
	moved, stays := vip+":9090", serverAddr(socklab.IPv4, 9090)
	startServer(t, "listen="+moved, "listen="+stays)
	clients := []*client{dial(t, "idle", moved, asksNothing), dial(t, "busy", moved, asksMuch), dial(t, "other", stays, asksNothing)}
	file := filepath.Join(root, "examples/address-gone.yaml")
	if got := judge(t, clients, "audit", "--rules", file, "--state-file", "none"); len(got) != 0 {
		t.Errorf("with its address: %v", got)
	}
	move("del")
	until(t, clients, verdicts{"idle": "address-gone pending", "busy": "address-gone pending"}, "audit", "--rules", file, "--state-file", "none")
	rules := edited(t, "address-gone.yaml", "for: 30s", "for: 1s")
	untilDone(t, clients, verdicts{"idle": "address-gone fd_still_held", "busy": "address-gone fd_still_held"},
		"run", "--live", "--rules", rules, "--state-file", filepath.Join(t.TempDir(), "state"))
	clients[2].lives()
	move("add")
	again := dial(t, "again", moved, asksNothing) // it still listens
	move("del")
	scripts := commandsIn(t, file, regexp.MustCompile(`(?m)^# +sockwarden (kill .*)$`))
	if len(scripts) != 1 {
		t.Fatalf("%q", scripts)
	}
	code, out, errs := run(t, strings.Fields(scripts[0])...)
	if end := serverSide(t)[again.port()]; code != 0 || end.State != "" || !strings.Contains(out, "gone 1 ") {
		t.Errorf("%s: exits %d; %q\n%s%s", scripts[0], code, end.State, out, errs)
	}
	clients[2].lives()
}

// A web server: the rules destroy what it has leaked and clients that are gone, and
// report those that wait to be accepted. They leave half-closed downloads and pausing
// clients alone.
func TestExampleWebServer(t *testing.T) {
	if apart(t) {
		return
	}
	addr := serverAddr(socklab.IPv4, 8080)
	startServer(t, "listen="+addr)
	leak, download := dial(t, "leak", addr, asksNothing), dial(t, "download", addr, asksMuch)
	gone, paused, slow := dial(t, "gone", addr, asksMuch), dial(t, "paused", addr, asksMuch), dial(t, "slow", addr, asksMuch)
	socklab.NewListener(t, socklab.IPv4, 443) // it does not accept
	waiting := dial(t, "waiting", serverAddr(socklab.IPv4, 443), asksNothing)
	clients := []*client{leak, download, gone, paused, slow, waiting}
	for _, c := range clients[:2] {
		c.must(c.CloseWrite())
	}
	download.reads(20<<10, 20*time.Millisecond)
	slow.reads(20<<10, 20*time.Millisecond)
	gone.vanish()

	vars := []string{"--state-file", filepath.Join(t.TempDir(), "state"), "--var", "leak=5", "--var", "half_open=5", "--var", "not_accepted=1"}
	audit := append([]string{"audit", "--rules", filepath.Join(root, "examples/web-server.yaml")}, vars...)
	// The clients are in the network of the balancers: the leak still counts.
	until(t, clients, verdicts{"leak": "web-leak would", "gone": "web-half-open pending", "waiting": "web-not-accepting observe"}, audit...)
	rules := edited(t, "web-server.yaml", "balancers: [10.0.0.0/8]", "balancers: [10.88.0.0/16]", "for: 2m", "for: 1s")
	live := append([]string{"run", "--live", "--rules", rules}, vars...)
	untilDone(t, clients, verdicts{"leak": "web-leak fd_still_held", "gone": "web-half-open fd_still_held", "waiting": "web-not-accepting observe"}, live...)
	for _, c := range []*client{download, paused, slow, waiting} {
		c.lives()
	}
}

// Any server: a leak is destroyed, after the patience set for its program; a half-closed
// download and what is on an excluded port are not.
func TestExampleHungConnections(t *testing.T) {
	if apart(t) {
		return
	}
	at := func(port uint16) string { return serverAddr(socklab.IPv4, port) }
	startServer(t, "listen="+at(7001), "listen="+at(22))
	startServer(t, "listen="+at(7002), "name=postgres")
	leak, download := dial(t, "leak", at(7001), asksNothing), dial(t, "download", at(7001), asksMuch)
	patient, excluded := dial(t, "patient", at(7002), asksNothing), dial(t, "excluded", at(22), asksNothing)
	clients := []*client{leak, download, patient, excluded}
	for _, c := range clients {
		c.must(c.CloseWrite())
	}
	download.reads(20<<10, 20*time.Millisecond)
	rules, state := filepath.Join(root, "examples/hung-connections.yaml"), filepath.Join(t.TempDir(), "state")
	vars := []string{"--rules", rules, "--state-file", state, "--var", "close_wait_timeout=5"}
	until(t, clients, verdicts{"leak": "close-wait would", "excluded": "close-wait protected"}, append([]string{"audit"}, vars...)...)
	untilDone(t, clients, verdicts{"leak": "close-wait fd_still_held", "excluded": "close-wait protected"}, append([]string{"run", "--live"}, vars...)...)
	for _, c := range clients[1:] {
		c.lives()
	}
}

// An address on the list loses what it has open, at once; others and one's own networks
// lose nothing.
func TestExampleBanList(t *testing.T) {
	if apart(t) {
		return
	}
	v4, v6 := serverAddr(socklab.IPv4, 8443), serverAddr(socklab.IPv6, 8443)
	startServer(t, "listen="+v4, "listen="+v6)
	banned, other := dial(t, "banned", v4, asksMuch), dial(t, "other", v6, asksNothing)
	clients := []*client{banned, other}
	banned.reads(1<<20, 0)
	state := filepath.Join(t.TempDir(), "state")
	strict, rules := edited(t, "ban-list.yaml"), edited(t, "ban-list.yaml", "10.0.0.0/8, ", "")
	live := func(rules string) verdicts {
		return judge(t, clients, "run", "--live", "--rules", rules, "--state-file", state)
	}
	if got := live(rules); len(got) != 0 {
		t.Errorf("before the ban: %v", got)
	}
	for _, file := range []string{strict, rules} {
		list, err := os.OpenFile(filepath.Join(filepath.Dir(file), "banned.txt"), os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Fprintln(list, socklab.IPv4.Remote()); err != nil {
			t.Fatal(err)
		}
		if err := list.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := live(strict); len(got) != 1 || got["banned"] != "banned unless" {
		t.Errorf("of one's own network: %v", got)
	}
	if got := live(rules); len(got) != 1 || got["banned"] != "banned fd_still_held" {
		t.Errorf("after the ban: %v", got)
	}
	if end := serverSide(t)[banned.port()]; end.State != "" {
		t.Errorf("the banned one is %s", end.State)
	}
	other.lives()
}

// The service near its limit of descriptors is restarted, once; the one that has room and
// the one that is not named are not.
func TestExampleFDLimit(t *testing.T) {
	if apart(t) {
		return
	}
	const limit = 48 // few enough for the breaker
	var clients []*client
	for i, s := range []struct {
		name string
		fds  int
	}{{"hbbs", limit - 6}, {"hbbr", limit / 2}, {"nginx", limit - 6}} {
		addr := serverAddr(socklab.IPv4, uint16(7100+i))
		p := startServer(t, "listen="+addr, "name="+s.name, fmt.Sprint("nofile=", limit))
		inService(t, p.Pid, s.name+".service")
		have := func() int {
			fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Pid))
			if err != nil {
				t.Fatal(err)
			}
			return len(fds)
		}
		for before := have(); before < s.fds; before = have() {
			c := dial(t, s.name, addr, asksNothing)
			clients = append(clients, c)
			c.must(c.CloseWrite())
			socklab.WaitFor(t, "the connection to be accepted", func() bool { return have() > before })
		}
	}
	calls := systemctl(t)
	state := filepath.Join(t.TempDir(), "state")
	example := []string{"audit", "--rules", filepath.Join(root, "examples/fd-limit.yaml"), "--state-file", state}
	if got := judge(t, clients, example...); len(got) != 1 || got["hbbs"] != "descriptors-near-limit pending" {
		t.Errorf("as it is: %v", got)
	}
	half := append(example, "--var", "percent=40")
	if got := judge(t, clients, half...); len(got) != 2 || got["hbbr"] != "descriptors-near-limit pending" {
		t.Errorf("from 40 %%: %v", got)
	}
	rules := edited(t, "fd-limit.yaml", "for: 2m ", "for: 1s ", "mode: observe ", "mode: enforce ", "soak: 1h ", "# ", "canary: 50% ", "# ")
	untilDone(t, clients, verdicts{"hbbs": "descriptors-near-limit done"}, "run", "--live", "--rules", rules, "--state-file", state)
	if got := calls(); got != "restart -- hbbs.service\n" {
		t.Errorf("systemctl %q", got)
	}
	if got := judge(t, clients, "run", "--live", "--rules", rules, "--state-file", state); len(got) != 1 || got["hbbs"] != "descriptors-near-limit cooldown" {
		t.Errorf("again: %v", got)
	}
	if got := calls(); got != "restart -- hbbs.service\n" {
		t.Errorf("again: systemctl %q", got)
	}
}

// inService makes /proc show a process in a unit, but only to the tests.
func inService(t *testing.T, pid int, unit string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "cgroup")
	err := os.WriteFile(file, []byte("0::/system.slice/"+unit+"\n"), 0o644)
	if err == nil {
		err = unix.Mount(file, fmt.Sprintf("/proc/%d/cgroup", pid), "", unix.MS_BIND, "")
	}
	if err != nil {
		t.Fatal(err)
	}
}

// systemctl puts a program in the place of systemctl, in the mount namespace of the
// tests; calls returns what it was called with.
func systemctl(t *testing.T) (calls func() string) {
	t.Helper()
	const dir = "/usr/local/sbin" // where restart looks first
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	notes := filepath.Join(t.TempDir(), "calls")
	if err := os.WriteFile(notes, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir+"/systemctl", []byte("#!/bin/sh\necho \"$@\" >> "+notes+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return func() string {
		b, err := os.ReadFile(notes)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}
