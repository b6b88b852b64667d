package doctor

import (
	"context"
	"fmt"

	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
	"sockwarden/collectors/sockdiag"
)

// processes says whether /proc shows all that can hold the sockets of this
// namespace. Where it does not, a live run spares what somebody hidden may hold.
func processes(ctx context.Context) Check {
	c := Check{Name: "/proc", Level: OK, Detail: "all processes are listed"}
	proc := procfs.New("")
	cover := proc.Coverage()
	missing, unreadable, err := unheld(ctx, proc)
	if err != nil {
		return Check{Name: c.Name, Level: Warn, Detail: err.Error()}
	}
	const spares = "live runs spare what they may hold, unless --allow-unknown-owner"
	warn := func(cure, format string, args ...any) Check {
		return Check{Name: c.Name, Level: Warn, Detail: fmt.Sprintf(format, args...) + ": " + spares, Cure: cure}
	}
	switch {
	case cover.HidePID != "":
		return warn("give it CAP_SYS_PTRACE of the host (root), or mount /proc without hidepid", "it hides processes (%s)", cover.HidePID)
	case unreadable > 0:
		return warn("run as root, in a container with CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH; a security module can forbid it to root, too", "%d process(es) are listed and cannot be examined", unreadable)
	case !cover.Inside:
		return c
	case missing > 0:
		c = warn("run it with --pid=host", "%d socket(s) here have a holder that this PID namespace does not show", missing)
		c.Level = Fail
		return c
	case proc.InitialNetwork():
		return warn("run it with --pid=host", "the network is the host's, and its processes are outside of this PID namespace")
	}
	c.Detail = "all processes of this PID namespace are listed, and hold all sockets of its network"
	return c
}

// unheld returns of how many sockets of this namespace no process can be seen
// that holds them, and how many processes cannot be examined.
func unheld(ctx context.Context, proc *procfs.FS) (missing, unreadable int, err error) {
	before, err := inodes(ctx)
	if err != nil {
		return 0, 0, err
	}
	before[0] = true // nobody's: also without sockets it is tried who can be examined
	found, err := proc.Holders(ctx, before)
	if err != nil {
		return 0, 0, fmt.Errorf("owners of sockets: %w", err)
	}
	after, err := inodes(ctx) // what was closed meanwhile is nobody's
	for inode := range before {
		if after[inode] && len(found.ByInode[inode]) == 0 {
			missing++
		}
	}
	return missing, len(found.Unreadable), err
}

// inodes returns those of all sockets that a process has.
func inodes(ctx context.Context) (map[uint32]bool, error) {
	conn, err := sockdiag.Dial(-1)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	all := map[uint32]bool{}
	for _, p := range []collectors.Protocol{collectors.TCP, collectors.UDP} {
		for s, err := range conn.Dump(ctx, collectors.Query{Protocols: []collectors.Protocol{p}, States: collectors.AllStates}) {
			if err != nil {
				return nil, err
			}
			if s.Inode != 0 {
				all[s.Inode] = true
			}
		}
	}
	return all, nil
}
