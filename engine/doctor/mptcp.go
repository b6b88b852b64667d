package doctor

import (
	"context"
	"errors"
	"fmt"

	"sockwarden/collectors"
	"sockwarden/collectors/sockdiag"
)

// mptcp says whether the kernel shows sockets of MPTCP, if it has any. Without that, rules
// about them find nothing; their subflows are seen all the same.
func mptcp(ctx context.Context) Check {
	c := Check{Name: "MPTCP", Level: OK, Detail: "this kernel has none"}
	if !sockdiag.HasMPTCP() {
		return c
	}
	conn, err := sockdiag.Dial(-1)
	if err != nil {
		return Check{Name: c.Name, Level: Warn, Detail: err.Error()}
	}
	defer func() { _ = conn.Close() }()
	n := 0
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.MPTCP}, States: collectors.AllStates}
	for _, err := range conn.Dump(ctx, q) {
		if err != nil {
			c.Level, c.Detail = Warn, err.Error()
			if errors.Is(err, collectors.ErrNotSupported) {
				c.Detail = "the kernel does not show these sockets: rules about protocol mptcp find nothing"
				c.Cure = "modprobe mptcp_diag, or use a kernel with CONFIG_INET_MPTCP_DIAG (Linux 5.9)"
			}
			return c
		}
		n++
	}
	c.Detail = fmt.Sprintf("%d mptcp sockets to be seen", n)
	if n == 1 {
		c.Detail = "1 mptcp socket to be seen"
	}
	return c
}
