package world

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
)

// Dead is a process that holds descriptors of TCP connections that the kernel has ended:
// destroyed, reset or timed out. No dump of sockets shows these any more.
type Dead struct {
	Owner   collectors.Owner
	Sockets int
}

// deadSockets looks at every TCP socket of every process. unseen is how many processes it
// could not examine.
func deadSockets(ctx context.Context, proc *procfs.FS) (all []Dead, unseen int, err error) {
	pids, err := proc.PIDs()
	if err != nil {
		return nil, 0, err
	}
	for _, pid := range pids {
		if ctx.Err() != nil {
			return nil, 0, fmt.Errorf("look at processes: %w", context.Cause(ctx))
		}
		owner, err := proc.Describe(pid)
		if errors.Is(err, collectors.ErrGone) {
			continue
		}
		n := 0
		if err == nil {
			n, err = deadOf(proc, &owner)
		}
		switch {
		case errors.Is(err, collectors.ErrGone):
		case err != nil:
			unseen++
		case n > 0:
			all = append(all, Dead{owner, n})
		}
	}
	slices.SortStableFunc(all, func(a, b Dead) int { return cmp.Compare(b.Sockets, a.Sockets) })
	return all, unseen, nil
}

// deadOf counts the dead sockets of a process.
func deadOf(proc *procfs.FS, o *collectors.Owner) (n int, err error) {
	held, err := proc.Sockets(o.PID, o.StartTime)
	if err != nil {
		return 0, err
	}
	err = proc.Borrow(o.PID, o.StartTime, held, func(_ procfs.Held, fd int) error {
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		// A socket that was never connected has sent nothing.
		if err == nil && collectors.State(info.State) == collectors.Close && info.Segs_in+info.Segs_out > 0 {
			n++
		}
		return nil // a socket without tcp_info is not a TCP connection
	})
	return n, err
}
