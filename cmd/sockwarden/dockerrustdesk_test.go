package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"sockwarden/collectors/socklab"
	"sockwarden/collectors/socklab/dockerlab"
)

// TestDockerRustDesk runs what docs/rustdesk.md shows for Compose, first in a bridge
// network, where hbbs does not serve all of its ports, and the example as shipped. From the
// host the example names container and service, tells what does not listen although
// docker-proxy does, and cures the leak, also of a container that is restarted; kill drops
// connections.
func TestDockerRustDesk(t *testing.T) {
	files := composeFiles(t, "docs/rustdesk.md")
	if len(files) != 2 {
		t.Fatalf("docs/rustdesk.md shows %d files of Compose", len(files))
	}
	d := dockerlab.Start(t)
	d.Image("rustdesk/rustdesk-server:latest", root)
	at := composeUp(t, d, files[0], map[string]string{"hbbs": "/service 21118/tcp 21116/udp"})
	listen(d, at["hbbr"]+":21117", at["hbbs"]+":21118")
	for range 3 {
		_ = outside(t, "21118").Close()
	}
	relayed := outside(t, "21117")

	rules := filepath.Join(root, "examples/rustdesk.yaml")
	example := []string{"--rules", rules, "--state-file", filepath.Join(t.TempDir(), "state"), "--var", "close_wait_timeout=1"}
	says := func(want string, args ...string) {
		t.Helper()
		code, out, errs := run(t, args...)
		if !regexp.MustCompile(want).MatchString(out+errs) || code != 0 {
			t.Errorf("%s: %d, not %s\n%s%s", args, code, want, out, errs)
		}
	}
	finds(t, map[string]int{
		"rustdesk-close-wait would hbbr hbbr": 1, "rustdesk-close-wait would hbbs hbbs": 4,
		"hbbs-missing-tcp pending": 1, // docker-proxy listens there
	}, example)
	says(`docker:hbbs`, append([]string{"audit"}, example...)...)
	says(`(hbbs +hbbs +21118\s+){4}`, "list", "-p", "rustdesk", "-s", "close_wait", "--container", "hbbs", "--columns", "container,compose_service,published")

	established := []string{"kill", "-p", "rustdesk", "-s", "established", "-y"}
	says(`^no socket matches(.*\n)*.* other network namespaces not looked at; --netns all shows them`, append(established, "--netns", "host")...)
	says(`^no socket matches(.*\n)*.* other network namespaces not looked at`, "kill", "-p", "21115-21119", "-s", "established", "-y")
	says(` 1 +ESTABLISHED +21117 .* docker:hbbr `, "kill", "-p", "rustdesk", "-s", "established", "-n")
	says(` 1 +ESTABLISHED +hbbr `, "list", "-p", "rustdesk", "-s", "established", "--by", "state,container")
	says(`docker:hbbr(.*\n)*gone 1`, established...)
	_ = relayed.SetReadDeadline(time.Now().Add(patience))
	if _, err := relayed.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
		t.Errorf("the client of the relay: %v", err)
	}

	cures(t, map[string]int{
		"rustdesk-close-wait fd_still_held hbbr hbbr": 1, "rustdesk-close-wait fd_still_held hbbs hbbs": 4, "hbbs-missing-tcp pending": 1,
	}, example)
	_ = outside(t, "21118").Close() // it still listens
	leak := func() {
		d.Until("a client from outside reaches hbbs", func() bool {
			c, err := dialPublished(t, "21118")
			if err == nil {
				_ = c.Close()
			}
			return err == nil
		})
	}
	follows(t, d, "hbbs", leak, "--rules", rules, "--var", "close_wait_timeout=1")

	d.Docker("rm", "-f", "hbbs", "hbbr")
	composeUp(t, d, files[1], nil)
	listen(d, "127.0.0.1:21118", "127.0.0.1:21119")
	finds(t, map[string]int{"rustdesk-close-wait would hbbr hbbr": 1, "rustdesk-close-wait would hbbs hbbs": 1}, example)
	says(` 3 +hbbs .*\n +2 +hbbr `, "list", "-s", "listen", "-p", "rustdesk", "--netns", "host", "--by", "container")
	cures(t, map[string]int{"rustdesk-close-wait fd_still_held hbbr hbbr": 1, "rustdesk-close-wait fd_still_held hbbs hbbs": 1}, example)
}

// listen waits until each address takes a connection, and closes it.
func listen(d *dockerlab.Engine, addrs ...string) {
	for _, addr := range addrs {
		d.Until(addr+" listens", func() bool {
			c, err := net.Dial("tcp", addr)
			if err == nil {
				_ = c.Close()
			}
			return err == nil
		})
	}
}

// finds waits until audit finds what is wanted, and nothing else; see ofServices.
func finds(t *testing.T, want map[string]int, example []string) {
	t.Helper()
	var got map[string]int
	eventually(t, func() bool {
		_, out, _ := run(t, append([]string{"audit", "-o", "json"}, example...)...)
		got = ofServices(t, out)
		return maps.Equal(got, want)
	}, func() string { return fmt.Sprintf("%v, not %v", got, want) })
}

// cures runs the rules once; see ofServices.
func cures(t *testing.T, want map[string]int, example []string) {
	t.Helper()
	code, out, errs := run(t, append([]string{"run", "--live", "-o", "json"}, example...)...)
	if got := ofServices(t, out); code != 0 || !maps.Equal(got, want) {
		t.Errorf("run exits %d: %v, not %v\n%s", code, got, want, errs)
	}
}

// outside is dialPublished, which must succeed.
func outside(t *testing.T, port string) net.Conn {
	t.Helper()
	c, err := dialPublished(t, port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// dialPublished connects to a published port from another machine, by DNAT.
func dialPublished(t *testing.T, port string) (c net.Conn, err error) {
	t.Helper()
	err = socklab.Peer(t).Do(func() (err error) {
		c, err = net.Dial("tcp", net.JoinHostPort(socklab.IPv4.Local().String(), port))
		return err
	})
	return c, err
}

// ofServices counts findings by rule, outcome, container and service.
func ofServices(t *testing.T, out string) map[string]int {
	t.Helper()
	var report struct {
		Findings []struct {
			Rule, Decision string
			Actions        []struct{ Result string }
			Socket         struct {
				Container string
				Service   string `json:"compose_service"`
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &report); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	n := map[string]int{}
	for _, f := range report.Findings {
		what := f.Decision
		if len(f.Actions) > 0 {
			what = f.Actions[len(f.Actions)-1].Result
		}
		n[strings.TrimSpace(strings.Join([]string{f.Rule, what, f.Socket.Container, f.Socket.Service}, " "))]++
	}
	return n
}
