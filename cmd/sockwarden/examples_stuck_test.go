package main

import (
	"net/netip"
	"path/filepath"
	"testing"

	"sockwarden/collectors/socklab"
)

// A prefork server no longer accepts: its unit is restarted, once, for its full queue or
// for what waits there; the one beside it and the one that shares its port are not.
func TestExampleStuckServer(t *testing.T) {
	socklab.Need(t)
	addr, other := serverAddr(socklab.IPv4, 8000), serverAddr(socklab.IPv4, 8001)
	var fd int
	err := socklab.Home(t).Do(func() (err error) {
		fd, err = sharing(netip.MustParseAddrPort(addr), 1)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	stuck := &socklab.Conn{Kind: socklab.Listen, FD: fd}
	clients := []*client{dial(t, "first", addr, asksNothing), dial(t, "second", addr, asksNothing)} // one more than the queue is for
	for _, keeps := range []bool{true, false} {
		worker := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{stuck}, Program: "gunicorn", Keep: keeps})
		inService(t, worker.PID, "stuck.service")
	}
	for unit, args := range map[string][]string{"sibling.service": {"share=" + addr}, "other.service": {"listen=" + other}} {
		inService(t, startServer(t, append(args, "name=gunicorn")...).Pid, unit)
	}
	served := dial(t, "served", other, asksNothing)
	clients = append(clients, served)

	calls := systemctl(t)
	const queueFull = "0" // a listener has no peer
	dir := t.TempDir()
	observed := verdicts{queueFull: "queue-full pending", "first": "not-accepted observe", "second": "not-accepted observe"}
	until(t, clients, observed, "audit", "--rules", filepath.Join(root, "examples/stuck-server.yaml"),
		"--state-file", filepath.Join(dir, "state"), "--var", "not_accepted=1")
	rules := edited(t, "stuck-server.yaml", "for: 1m", "for: 1s", "mode: observe          # enforce acts", "mode: enforce",
		"mode: observe          # and this one", "mode: enforce          # and this one")
	until(t, clients, verdicts{"first": "not-accepted would", "second": "not-accepted would"},
		"audit", "--rules", rules, "--rule", "not-accepted", "--state-file", filepath.Join(dir, "audit"), "--var", "not_accepted=1")
	untilDone(t, clients, verdicts{queueFull: "queue-full done"}, "run", "--live", "--rules", rules, "--rule", "queue-full",
		"--state-file", filepath.Join(dir, "live"))
	if got := calls(); got != "restart -- stuck.service\n" {
		t.Errorf("systemctl %q", got)
	}
	served.lives()
}
