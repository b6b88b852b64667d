package engine

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/host"
	"sockwarden/collectors/sockdiag"
	"sockwarden/rules"
)

// Preflight finds out, without touching anything, whether this process could
// act as the program wants. The error is ErrNotPermitted, naming the missing
// capability, or ErrNotSupported.
func Preflight(ctx context.Context, p *rules.Program) error {
	acts, destroys, only := false, false, false // only by netlink
	for _, r := range p.Rules {
		for _, rung := range r.Then {
			if rung.Action == "log" || r.Mode != rules.ModeEnforce {
				continue
			}
			acts = true
			if rung.Action != "destroy" || rung.Params["method"] == "pidfd" {
				continue
			}
			destroys = true
			only = only || rung.Params["method"] == "netlink"
		}
	}
	if !acts {
		return nil
	}
	if err := named(ctx, p.Query.Protocols); err != nil || !destroys {
		return err
	}
	has, err := host.HasCapability(unix.CAP_NET_ADMIN)
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
	byOwner, err := host.HasCapability(unix.CAP_SYS_PTRACE)
	if err != nil {
		return err
	}
	if err := c.Supported(ctx); errors.Is(err, collectors.ErrNotSupported) && (only || !byOwner) {
		return fmt.Errorf("the kernel answers EOPNOTSUPP to SOCK_DESTROY (CONFIG_INET_DIAG_DESTROY is off): %w", collectors.ErrNotSupported)
	}
	return nil
}

// named is ErrNotSupported if the kernel tells the cookies of no sockets that the
// program is about, without which nothing is acted on.
func named(ctx context.Context, protocols []collectors.Protocol) error {
	c, err := sockdiag.Dial(-1)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	for _, protocol := range protocols {
		if err = c.Handled(ctx, protocol); err == nil || !errors.Is(err, collectors.ErrNotSupported) {
			return nil // what else is wrong the run itself finds
		}
	}
	if err != nil {
		return fmt.Errorf("%w: load the modules tcp_diag and udp_diag (modprobe)", err)
	}
	return nil
}
