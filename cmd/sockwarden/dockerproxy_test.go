package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/procfs"
	"sockwarden/collectors/socklab"
	"sockwarden/collectors/socklab/dockerlab"
)

// proxyRules act on what docker-proxy leaks, in every way one could think of.
const proxyRules = `version: 1
rules:
  - {name: gently, when: 'published endsWith ":8080" && state == "CLOSE_WAIT"', then: [destroy]}
  - {name: roughly, when: 'process == "docker-proxy"', then: [{signal: KILL, owners: all}]}
  - {name: cut, when: 'peer_container == "relayd"', then: [{destroy: {protected: true}}]}
`

// provesProxy looks at both sides of a published port: docker-proxy on the host, which
// takes what comes in over loopback, and the container.
func provesProxy(t *testing.T, d *dockerlab.Engine) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, []byte(proxyRules), 0o600); err != nil {
		t.Fatal(err)
	}
	id, _ := d.Run("--name", "relayd", "-p", "21117:8080", "-p", "31117:8080", "-p", "21118:8081", "relay:1")
	inside := d.Docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", id)
	leakInto(t, d, id, 1) // it listens, and one connection came in without the proxy
	d.Run("--name", "side", "--network", "container:"+id, "relay:1")
	connect := func() {
		t.Helper()
		c, err := net.Dial("tcp", "127.0.0.1:21117")
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	connect()
	through := []string{"list", "--netns", "all", "-o", "json", "--columns", "state,port,process,published,peer_process,peer_container"}
	by := func(more ...string) (rows []map[string]any) {
		_, out, _ := run(t, append(through, more...)...)
		if err := json.Unmarshal([]byte(out), &rows); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return rows
	}
	const leaked = `state == "CLOSE_WAIT" && process == "docker-proxy"`
	d.Until("docker-proxy and the container are in CLOSE_WAIT, and the other one listens", func() bool {
		return len(by(`state == "LISTEN" && port == 8081 && container == "side"`)) == 1 && len(by(leaked)) == 1 && len(by("-s", "close_wait", "-p", "8080", `peer_process == "docker-proxy"`)) == 1
	})
	for what, want := range map[string]map[string]any{
		leaked: {"port": 21117.0, "published": inside + ":8080"},
		`state == "FIN_WAIT2" && process == "docker-proxy"`:             {"published": inside + ":8080", "peer_process": "service", "peer_container": "relayd"},
		`state == "CLOSE_WAIT" && port == 8080 && peer_process != ""`:   {"published": "21117,31117", "peer_process": "docker-proxy", "peer_container": ""},
		`state == "LISTEN" && port == 21117 && local_addr == "0.0.0.0"`: {"published": inside + ":8080", "peer_process": "", "peer_container": ""},
		`state == "LISTEN" && port == 8080 && container == "relayd"`:    {"published": "21117,31117"},
		`state == "LISTEN" && port == 8081 && container == "side"`:      {"published": "21118"},
	} {
		rows := by(what)
		if len(rows) != 1 {
			t.Errorf("%s: %v", what, rows)
			continue
		}
		for field, value := range want {
			if rows[0][field] != value {
				t.Errorf("%s: %s is %v, not %v", what, field, rows[0][field], value)
			}
		}
	}
	behindNAT(t, d, by)

	proxy := proxyPID(t)
	said := func(want string, args ...string) {
		t.Helper()
		_, out, errs := run(t, args...)
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("%s: not %s\n%s%s", args, want, out, errs)
		}
	}
	said(`where for docker:relayd(.|\n)*docker-proxy\[\d+\] for container `+regexp.QuoteMeta(inside)+`:8080`, "list", "-p", "21117", "-s", "close_wait")
	const spared = `guarded \(protected process docker-proxy for docker:relayd`
	for rule, want := range map[string]string{"gently": spared + `: needs {destroy: {protected: true}}\)`, "roughly": spared, "cut": `would act(.|\n)*for\s+docker:relayd`} {
		rules := []string{"--rules", path, "--rule", rule, "--state-file", "none"}
		said(want, append([]string{"audit"}, rules...)...)
		if rule != "cut" {
			said(want, append([]string{"run", "--live"}, rules...)...)
		}
	}
	said(`fd_still_held|gone`, "kill", leaked, "--allow-protected", "-y")
	if unix.Kill(proxy, 0) != nil || proxyPID(t) != proxy {
		t.Error("docker-proxy did not survive")
	}
	// Ending a connection in the container ends it on both sides of docker-proxy.
	connect()
	d.Until("docker-proxy is in CLOSE_WAIT again", func() bool { return len(by(leaked)) == 1 })
	said(`gone|fd_still_held`, "kill", "--container", "relayd", "-s", "close_wait", `peer_process == "docker-proxy"`, "-y")
	d.Until("docker-proxy has let go", func() bool { return len(by(leaked)) == 0 })
}

// behindNAT connects to the port by an address of the host, from here and from the lab's
// other machine. DNAT leads these connections into the container without changing the
// peer's address: from neither side can anybody tell what the other end is.
func behindNAT(t *testing.T, d *dockerlab.Engine, by func(...string) []map[string]any) {
	t.Helper()
	to := netip.AddrPortFrom(socklab.IPv4.Local(), 21117).String()
	for from, n := range map[netip.Addr]*socklab.Namespace{socklab.IPv4.Local(): socklab.Home(t), socklab.IPv4.Remote(): socklab.Peer(t)} {
		var c net.Conn
		err := n.Do(func() (err error) {
			c, err = net.Dial("tcp", to)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		own := c.LocalAddr().(*net.TCPAddr).Port
		served := fmt.Sprintf("port == 8080 && remote_port == %d && remote_addr == %q", own, from)
		d.Until("the container has it", func() bool { return len(by("-s", "established", served)) == 1 })
		if rows := by("-s", "established", served); rows[0]["published"] != "21117,31117" {
			t.Errorf("from %s: %v", from, rows)
		}
		for _, what := range []string{served, fmt.Sprintf("remote_port == 21117 && port == %d", own)} {
			rows := by("-s", "established", what)
			if len(rows) != 1 || rows[0]["peer_process"] != nil || rows[0]["peer_container"] != nil {
				t.Errorf("from %s, %s: %v", from, what, rows)
			}
		}
	}
}

// proxyPID returns the PID of the docker-proxy of port 21117.
func proxyPID(t *testing.T) int {
	t.Helper()
	all, err := procfs.New("").Named(t.Context(), "docker-proxy")
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if p, ok := all[i].Proxy(); ok && p.Host == netip.MustParseAddrPort("0.0.0.0:21117") {
			return all[i].PID
		}
	}
	t.Fatalf("no docker-proxy among %v", all)
	return 0
}
