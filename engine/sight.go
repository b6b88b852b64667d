package engine

import (
	"context"
	"log/slog"
	"runtime"

	"sockwarden/collectors/procfs"
)

// Sight says who can be seen to hold sockets on this host, for doctor.
type Sight struct {
	procfs.Coverage
	// Seen has the sockets of which a holder is seen; of those that are true in it
	// nobody else holds them.
	Seen map[uint32]bool
	// Unexamined says which processes /proc does not let examine, why, and what
	// helps; "" if there are none.
	Unexamined string
	// Kernel says that the kernel could be asked by BPF.
	Kernel bool
}

// See looks for the holders of sockets, named by inode, as a cycle does.
func See(ctx context.Context, inodes map[uint32]bool) (Sight, error) {
	e := &Engine{opts: Options{Owners: OwnersProc}, log: slog.New(slog.DiscardHandler), proc: procfs.New(""), workers: runtime.GOMAXPROCS(0)}
	defer func() {
		if e.ownersBy != nil {
			_ = e.ownersBy.Close()
		}
	}()
	s := Sight{Coverage: e.coverage(), Seen: map[uint32]bool{}}
	unreadable, err := e.proc.Unreadable(ctx)
	if err != nil {
		return s, err
	}
	found, err := e.holders(ctx, inodes)
	if err != nil {
		return s, err
	}
	hidden := len(unreadable) > 0 || s.Inside || s.HidePID != ""
	for inode := range found.ByInode {
		s.Seen[inode] = found.proven[inode] || !hidden
	}
	if len(unreadable) > 0 {
		s.Unexamined = e.unexamined(unreadable)
	}
	s.Kernel = found.asked
	return s, nil
}

// CheckState is nil if a live run could keep its memory in this state file. It
// changes nothing but that it makes the directory. ErrLocked says that one does.
func CheckState(path string) error {
	if path == "" {
		return nil
	}
	s, _, err := openState(path, false)
	if err != nil {
		return err
	}
	if s.unread != nil { // stops what acts
		return s.unread
	}
	lock, err := s.takeLock()
	if err != nil {
		return err
	}
	defer func() { _ = lock.Close() }()
	return s.tryWrite()
}
