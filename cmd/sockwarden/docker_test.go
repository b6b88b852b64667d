package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sockwarden/collectors/socklab/dockerlab"
)

// leakRules destroy what a service of Compose leaks, wherever it runs.
const leakRules = `version: 1
netns: all
rules:
  - {name: relay-leak, when: 'compose_service == "relay" && state == "CLOSE_WAIT"', then: [destroy]}
`

// TestDocker looks from the host at containers of a real engine, by name, and ends what
// one of them leaks.
func TestDocker(t *testing.T) {
	d := dockerlab.Start(t)
	d.Image("relay:1", root)
	hbbr, _ := d.Run("--name", "hbbr", "--label", "com.docker.compose.service=relay", "relay:1")
	hbbs, _ := d.Run("--name", "hbbs", "relay:1")
	d.Run("--name", "onhost", "--network", "host", "relay:1")
	d.Run("--name", "beside", "--network", "container:"+hbbr, "relay:1")
	leakInto(t, d, hbbr, 3)
	leakInto(t, d, hbbs, 2)
	path := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(path, []byte(leakRules), 0o600); err != nil {
		t.Fatal(err)
	}
	leaks := func(args ...string) []string {
		return append([]string{"list", "-s", "close_wait", "-p", "8080"}, args...)
	}
	d.Until("all are in CLOSE_WAIT", func() bool {
		_, out, _ := run(t, leaks("--netns", "all", "--columns", "container")...)
		return strings.Count(out, "hbbr") == 3 && strings.Count(out, "hbbs") == 2
	})

	recordsContainers(t)
	for _, c := range []struct {
		args []string
		want string // a regular expression for the output
	}{
		{[]string{"audit", "--rules", path, "--state-file", "none"}, `where docker:hbbr \(relay\)\n.*\n(would act +relay-leak .*\n){3}`},
		{leaks("--netns", "all", "--by", "container"), `3 +hbbr .*\n +2 +hbbs `},
		{leaks("--container", "hbbr"), `docker:hbbr`},
		{leaks("--container", hbbr[:12], "--columns", "container,compose_service,image,pod"), `(hbbr +relay +relay:1 +-\s+){3}$`},
		{leaks("--container", "hbbs", "--columns", "container,compose_service"), `(hbbs +-\s+){2}$`},
		{leaks("--container", "hbbs,hbbr", "--by", "state"), `5 +CLOSE_WAIT`},
		{leaks("--netns", "hbbr", "--columns", "netns,container"), `(hbbr +hbbr\s+){3}note`},
		{leaks("--netns", "onhost"), `^error: network namespace of container onhost: it uses the host's: --netns host`},
		{leaks("--netns", "nosuch"), `^error: no network namespace "nosuch"`},
		{[]string{"list", "-s", "listen", "--container", "onhost", "--columns", "port,netns,container"}, `8080 +host +onhost`},
		{leaks("--netns", "hbbs,host", "--by", "netns"), ` 2 +hbbs .*\nnote`},
		{leaks("--netns", "hbb*", "--by", "netns"), ` 3 +hbbr .*\n +2 +hbbs `},
		{leaks("--netns", "*hos?", "--netns", "*r"), `(CLOSE_WAIT .*\n){3}`}, // the first matches onhost, which has none of its own
		{leaks("--netns", hbbs[:12], "--by", "netns"), ` 2 +hbbs `},
		{leaks("--netns", d.Docker("inspect", "-f", "{{.State.Pid}}", hbbr), "--by", "state"), ` 3 +CLOSE_WAIT`},
		{leaks("--netns", "beside", "--by", "netns"), ` 3 +beside `}, // it shares hbbr's network
		{leaks("--netns", "*es[i]de,hbbr", "--by", "netns"), ` 3 +beside `},
		{[]string{"__complete", "list", "--netns", "hbbs,"}, `hbbs,hbbr\tcontainer of relay:1`},
		{leaks("--container", "nosuch", "--by", "state"), `^COUNT.*\n$`},
		{leaks("--container", "hbbr", "--netns", "host", "--by", "state"), `^COUNT.*\nnote`},
		{[]string{"rules", "check", path}, `note: rule relay-leak: reading compose_service takes the socket`},
		{[]string{"doctor"}, `containers +docker: /run/docker.sock`},
		{[]string{"kill", "--container", "hbbr", "-s", "close_wait", "-y"}, `docker:hbbr(.*\n)*gone 3`},
		{leaks("--container", "hbbs,hbbr", "--by", "container"), `^COUNT.*\n +2 +hbbs .*\nnote`},
	} {
		_, out, errs := run(t, c.args...)
		if want := regexp.MustCompile(c.want); !want.MatchString(out) && !want.MatchString(errs) {
			t.Errorf("%s: not %s\n%s%s", c.args, c.want, out, errs)
		}
	}
	_, out, _ := run(t, leaks("--container", "hbbs", "-o", "json")...)
	var rows []map[string]any
	if err := json.Unmarshal([]byte(out), &rows); err != nil || len(rows) != 2 {
		t.Fatalf("%v: %s", err, out)
	}
	if r := rows[0]; r["container"] != "hbbs" || r["container_id"] != hbbs || r["image"] != "relay:1" || r["pod"] != "" || r["compose_service"] != "" {
		t.Errorf("%v", r)
	}
	provesProxy(t, d)
}

// leakInto connects to a container and closes its ends; the container's program keeps the
// others.
func leakInto(t *testing.T, d *dockerlab.Engine, id string, n int) {
	t.Helper()
	addr := net.JoinHostPort(d.Docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", id), "8080")
	d.Until(fmt.Sprintf("%s listens", addr), func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			n--
			_ = c.Close()
		}
		return err == nil
	})
	for range n {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
}
