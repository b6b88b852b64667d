package engine

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/sockdiag"
	"sockwarden/rules"
)

// Preflight finds out, without touching anything, whether this process could
// act as the program wants. The error is ErrNotPermitted, naming the missing
// capability, or ErrNotSupported.
func Preflight(ctx context.Context, p *rules.Program) error {
	destroys, only := false, false // only by netlink
	for _, r := range p.Rules {
		for _, rung := range r.Then {
			if rung.Action != "destroy" || r.Mode != rules.ModeEnforce || rung.Params["method"] == "pidfd" {
				continue
			}
			destroys = true
			only = only || rung.Params["method"] == "netlink"
		}
	}
	if !destroys {
		return nil
	}
	has, err := hasCapability(unix.CAP_NET_ADMIN)
	if err != nil {
		return err
	}
	if !has {
		return fmt.Errorf("%w: destroying sockets needs CAP_NET_ADMIN, which this process does not have", collectors.ErrNotPermitted)
	}
	c, err := sockdiag.Dial(-1)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	// Sockets with an owner can also be aborted through it.
	byOwner, err := hasCapability(unix.CAP_SYS_PTRACE)
	if err != nil {
		return err
	}
	if err := c.Supported(ctx); errors.Is(err, collectors.ErrNotSupported) && (only || !byOwner) {
		return fmt.Errorf("the kernel answers EOPNOTSUPP to SOCK_DESTROY (CONFIG_INET_DIAG_DESTROY is off): %w", collectors.ErrNotSupported)
	}
	return nil
}

// hasCapability reports whether the process has a capability in its effective
// set.
func hasCapability(number int) (bool, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false, fmt.Errorf("capabilities: %w", err)
	}
	return data[number/32].Effective&(1<<(number%32)) != 0, nil
}
