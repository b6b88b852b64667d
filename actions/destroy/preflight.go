package destroy

import (
	"context"
	"errors"
	"fmt"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/host"
	"sockwarden/collectors/sockdiag"
)

// Preflight asks whether this process may destroy sockets and whether the kernel can, by
// naming one that does not exist. If the kernel cannot, sockets with an owner can still
// be aborted, if the method allows it.
func (a action) Preflight(ctx context.Context) error {
	has, err := host.HasCapability(actions.CapNetAdmin.Number)
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
	byOwner, err := host.HasCapability(actions.CapSysPtrace.Number)
	if err != nil {
		return err
	}
	if err := c.Supported(ctx); errors.Is(err, collectors.ErrNotSupported) && (a.method == "netlink" || !byOwner) {
		return fmt.Errorf("the kernel answers EOPNOTSUPP to SOCK_DESTROY (CONFIG_INET_DIAG_DESTROY is off): %w", collectors.ErrNotSupported)
	}
	return nil
}
