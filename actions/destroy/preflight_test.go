package destroy

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/collectors/stuck"
)

// Preflight checks in advance whether sockets can be destroyed, only for the chosen
// method, and what that method needs is declared.
func TestPreflight(t *testing.T) {
	socklab.Need(t)
	plugin := Plugin()
	for method, byNetlink := range map[string]bool{"auto": true, "netlink": true, "pidfd": false} {
		b, err := plugin.Bind(map[string]any{"method": method})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Preflight(t.Context()); err != nil {
			t.Errorf("%s: %v", method, err)
		}
		err = socklab.WithoutCapability(t, func() error { return b.Preflight(stuck.OnThisThread(t.Context())) }, unix.CAP_NET_ADMIN)
		if errors.Is(err, collectors.ErrNotPermitted) != byNetlink || (err != nil) != byNetlink {
			t.Errorf("%s without CAP_NET_ADMIN: %v", method, err)
		}
		declared := map[actions.Capability]bool{}
		for _, n := range b.Needed {
			declared[n.Capability] = n.For == ""
		}
		if declared[actions.CapNetAdmin] != byNetlink || declared[actions.CapSysPtrace] == byNetlink {
			t.Errorf("%s needs %+v", method, b.Needed)
		}
	}
}
