package world

import (
	"context"
	"log/slog"
	"runtime"

	"sockwarden/collectors/procfs"
)

// Sight says which holders of sockets are visible on this host, for doctor.
type Sight struct {
	procfs.Coverage
	// Seen has the sockets with a visible holder, true for those that certainly have no
	// other.
	Seen map[uint32]bool
	// Unexamined says which processes /proc does not let us examine, why, and what helps;
	// "" if there are none.
	Unexamined string
	// Kernel says that the kernel answered through BPF.
	Kernel bool
}

// See looks for the holders of sockets, given by inode, as a cycle does.
func See(ctx context.Context, inodes map[uint32]bool) (Sight, error) {
	k := &kernelOwners{how: OwnersProc, log: slog.New(slog.DiscardHandler), proc: procfs.New(""), workers: runtime.GOMAXPROCS(0)}
	defer k.close()
	s := Sight{Coverage: k.Coverage(), Seen: map[uint32]bool{}}
	unreadable, err := k.proc.Unreadable(ctx)
	if err != nil {
		return s, err
	}
	found, err := k.Holders(ctx, inodes)
	if err != nil {
		return s, err
	}
	hidden := len(unreadable) > 0 || s.Inside || s.HidePID != ""
	for inode := range found.ByInode {
		s.Seen[inode] = found.Proven[inode] || !hidden
	}
	if len(unreadable) > 0 {
		s.Unexamined = k.Unexamined(unreadable)
	}
	s.Kernel = found.Asked
	return s, nil
}
