package doctor

import (
	"context"
	"fmt"
	"strings"

	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
	"sockwarden/collectors/sockdiag"
	"sockwarden/engine/world"
)

// processes says whether we can see, through /proc or from the kernel, who holds each
// socket of this namespace. A live run spares sockets whose holders it cannot see.
func processes(ctx context.Context) Check {
	c := Check{Name: "/proc", Level: OK, Detail: "all processes are listed"}
	sight, missing, open, err := unheld(ctx)
	if err != nil {
		return Check{Name: c.Name, Level: Warn, Detail: err.Error()}
	}
	what, cure, _ := strings.Cut(sight.Unexamined, ": ")
	if sight.HidePID != "" {
		what, cure = fmt.Sprintf("it hides processes (%s)", sight.HidePID), "give it CAP_SYS_PTRACE of the host (root), or mount /proc without hidepid"
	}
	spares := func(level Level, cure, format string, args ...any) Check {
		return Check{Name: c.Name, Level: level, Detail: fmt.Sprintf(format, args...), Cure: cure + ", or --allow-unknown-owner"}
	}
	switch {
	case what != "" && !sight.Kernel:
		return spares(Fail, cure, "%s: live runs spare all sockets, as any could be theirs", what)
	case what != "" && missing+open > 0:
		what, _, _ = strings.Cut(what, ", and the kernel")
		return spares(Warn, "nothing, if that is well", "%s; the kernel tells who holds the sockets (BPF), except of %d, which live runs spare", what, missing+open)
	case what != "":
		what, _, _ = strings.Cut(what, ", and the kernel")
		c.Detail = what + "; the kernel tells who holds the sockets (BPF)"
		return c
	case !sight.Inside:
		return c
	case missing > 0:
		return spares(Fail, "run it with --pid=host", "this PID namespace does not show who holds %s here: live runs spare those", collectors.Counted(missing, "socket"))
	case procfs.New("").InitialNetwork() && (!sight.Kernel || open > 0):
		return spares(Warn, "run it with --pid=host", "the network is the host's, and its processes are outside of this PID namespace: live runs spare what they may hold")
	}
	c.Detail = "all processes of this PID namespace are listed, and hold all sockets of its network"
	return c
}

// unheld returns how many sockets of this namespace have no visible holder, and how many
// others may have further holders.
func unheld(ctx context.Context) (sight world.Sight, missing, open int, err error) {
	before, err := inodes(ctx)
	if err != nil {
		return sight, 0, 0, err
	}
	before[0] = true // no socket: so that See tries whom it can examine even if there are no sockets
	if sight, err = world.See(ctx, before); err != nil {
		return sight, 0, 0, fmt.Errorf("owners of sockets: %w", err)
	}
	after, err := inodes(ctx) // what was closed meanwhile has no holder
	for inode := range before {
		alone, seen := sight.Seen[inode]
		switch {
		case !after[inode]:
		case !seen:
			missing++
		case !alone:
			open++
		}
	}
	return sight, missing, open, err
}

// inodes returns the inodes of all sockets that a process holds.
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
