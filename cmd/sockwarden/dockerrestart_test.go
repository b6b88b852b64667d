package main

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab/dockerlab"
)

const restartRules = `version: 1
netns: all
rules:
  - {name: hbbr, when: 'container == "hbbr" && state == "CLOSE_WAIT"', then: [restart], limits: {cooldown: 1h, max_collateral: 0}}
  - {name: guarded, when: 'container == "hbbs" && state == "CLOSE_WAIT"', then: [restart], limits: {cooldown: 1h}}
  - {name: told, when: 'container == "hbbr" && state == "CLOSE_WAIT"', then: [{exec: PROGRAM}], limits: {per_cycle: 1}}
  - {name: destroyed, when: 'container == "hbbs" && state == "CLOSE_WAIT"', then: [destroy]}
`

// TestDockerRestart restarts one container of a real engine and nothing else, and follows
// one that somebody else restarts.
func TestDockerRestart(t *testing.T) {
	d := dockerlab.Start(t)
	d.Image("relay:1", root)
	hbbr, _ := d.Run("--name", "hbbr", "--label", "team=net", "--label", "api.token=x", "relay:1")
	hbbs, _ := d.Run("--name", "hbbs", "-p", "127.0.0.1:18080:8080", "relay:1")
	dir := t.TempDir()
	path, state := filepath.Join(dir, "rules.yaml"), filepath.Join(dir, "state")
	tells := filepath.Join(dir, "tell")
	for file, text := range map[string]string{
		path: strings.ReplaceAll(restartRules, "PROGRAM", tells), tells: "#!/bin/sh\ncat > " + dir + "/told\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	leakInto(t, d, hbbr, 300)
	leakInto(t, d, hbbs, 1)
	addr := net.JoinHostPort(d.Docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", hbbr), "8080")
	healthy, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	leaks := func(name, want string) func() bool {
		return func() bool {
			_, out, _ := run(t, "list", "-s", "close_wait", "--container", name, "--by", "container")
			return strings.Contains(out, want)
		}
	}
	d.Until("all are in CLOSE_WAIT", leaks("hbbr", "300  hbbr"))
	d.Until("all are in CLOSE_WAIT", leaks("hbbs", "1  hbbs"))
	d.Docker("exec", "-d", "hbbs", "/sshd")
	started := func() string { return d.Docker("inspect", "-f", "{{.Name}} {{.State.StartedAt}}", "hbbr", "hbbs") }
	was, proxies := started(), proxiesOf(t)
	if len(proxies) == 0 {
		t.Fatal("no docker-proxy")
	}
	says := func(code int, want string, args ...string) {
		t.Helper()
		got, out, errs := run(t, append(args, "--rules", path)...)
		if !regexp.MustCompile(want).MatchString(out+errs) || got != code {
			t.Errorf("%s: %d, not %s\n%s%s", args, got, want, out, errs)
		}
	}
	live := func(rule string) []string { return []string{"run", "--live", "--rule", rule, "--state-file", state} }

	says(0, `max_collateral 0: 1 established connection would die with container\s+hbbr`, append(live("hbbr"), "-v")...)
	says(0, `container hbbs has also sshd\[\d+\]: protected process sshd`, append(live("guarded"), "-v")...)
	if now := started(); now != was {
		t.Fatalf("restarted: %s, then %s", was, now)
	}
	says(0, `matched 300: acted 1,`, append(live("told"), "--breaker", "off")...)
	if b, err := os.ReadFile(dir + "/told"); err != nil || !bytes.Contains(b, []byte(`"container_labels":{"team":"net"}`)) {
		t.Errorf("%s, %v", b, err)
	}
	_ = healthy.Close()
	d.Until("nobody is served", leaks("hbbr", "301  hbbr"))
	says(0, `would act +hbbr +301 .*\n +action restart container hbbr \(docker\)\n`, "audit", "--rule", "hbbr", "--state-file", "none")
	if now := started(); now != was {
		t.Fatalf("audit restarts: %s, then %s", was, now)
	}
	says(0, `done +hbbr +301 .*\n +action restart container hbbr \(docker\)\n(.*\n)*.*sockets=301`, live("hbbr")...)
	one, other, _ := strings.Cut(started(), "\n")
	if before, neighbour, _ := strings.Cut(was, "\n"); one == before || other != neighbour {
		t.Errorf("before:\n%s\nafter:\n%s\n%s", was, one, other)
	}
	if now := proxiesOf(t); !slices.Equal(now, proxies) {
		t.Errorf("docker-proxy before: %q, after: %q", proxies, now)
	}
	leakInto(t, d, hbbr, 1)
	d.Until("it leaks anew", leaks("hbbr", "1  hbbr"))
	says(0, `spared 1: 1 cooldown \(hbbr\)`, live("hbbr")...)
	follows(t, d, "hbbs", func() { leakInto(t, d, hbbs, 2) }, "--rules", path, "--rule", "destroyed")
}

// proxiesOf lists the docker-proxy processes, with their PIDs and arguments.
func proxiesOf(t *testing.T) (all []string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		if b, err := os.ReadFile(path); err == nil && bytes.Contains(b, []byte("docker-proxy\x00")) {
			all = append(all, path+" "+string(b))
		}
	}
	return all
}

// follows has a watcher cure a container that leaks and is then restarted, with another
// network namespace.
func follows(t *testing.T, d *dockerlab.Engine, name string, leak func(), rules ...string) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "audit.jsonl")
	watch := exec.Command(build(t), append([]string{"watch", "--live", "--interval", "1s", "--state-file", "none", "--audit-log", log}, rules...)...)
	watch.Stdout, watch.Stderr = os.Stderr, os.Stderr
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = watch.Process.Signal(unix.SIGTERM)
		_ = watch.Wait()
	}()
	seen := map[string]bool{}
	// The program never closes, so its descriptors stay.
	cured := func() int {
		b, _ := os.ReadFile(log)
		for line := range bytes.Lines(b) {
			var l struct {
				Result string
				Socket struct {
					NetNS     string `json:"netns"`
					Container string
				}
			}
			if json.Unmarshal(line, &l) == nil && l.Result == "fd_still_held" && l.Socket.Container == name {
				seen[l.Socket.NetNS] = true
			}
		}
		return len(seen)
	}
	d.Until("the leak is cured", func() bool { return cured() == 1 })
	d.Docker("restart", "-t", "0", name)
	leak()
	d.Until("it is cured again in another namespace", func() bool { return cured() == 2 })
}
