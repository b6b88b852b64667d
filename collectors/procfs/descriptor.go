package procfs

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"time"

	"sockwarden/collectors"
)

// Descriptor returns a descriptor by which the process pid that started at
// startTime holds the socket. It is ErrGone if that process is no more or does
// not hold it any more, and ErrNotSupported if only threads with a table of
// their own hold it: their descriptors are not those of the process.
func (f *FS) Descriptor(pid int, startTime uint64, inode uint32) (int, error) {
	p, st, err := f.openStarted(pid, startTime)
	if err != nil {
		return -1, err
	}
	defer p.close()
	gone := fmt.Errorf("process %d does not hold the socket any more: %w", pid, collectors.ErrGone)
	if st.holdsNothing() {
		return -1, gone
	}
	wanted := map[uint32]bool{inode: true}
	held, _, err := p.sockets("fd", wanted)
	switch {
	case err != nil:
		return -1, classify(err)
	case len(held) > 0:
		return held[0].FD, nil
	case len(f.ofThreads(p, &st, wanted)) > 0:
		return -1, fmt.Errorf("only a thread of process %d holds the socket: %w", pid, collectors.ErrNotSupported)
	}
	return -1, gone
}

// SocketInodes returns the sockets that the process pid that started at
// startTime holds. It is ErrGone if that process is no more.
func (f *FS) SocketInodes(pid int, startTime uint64) ([]uint32, error) {
	held, ofThreads, err := f.socketsOf(pid, startTime)
	if err != nil {
		return nil, err
	}
	held = append(held, ofThreads...)
	inodes := make([]uint32, len(held))
	for i, s := range held {
		inodes[i] = s.Inode
	}
	return inodes, nil
}

// socketsOf lists the sockets of a process, and those of threads that have a table
// of their own.
func (f *FS) socketsOf(pid int, startTime uint64) (held, ofThreads []Held, err error) {
	p, st, err := f.openStarted(pid, startTime)
	if err != nil {
		return nil, nil, err
	}
	defer p.close()
	if st.holdsNothing() {
		return nil, nil, nil
	}
	held, _, err = p.sockets("fd", nil)
	if err != nil {
		return nil, nil, classify(err)
	}
	return held, f.ofThreads(p, &st, nil), nil
}

// recentTable is what a process held when it was looked at last.
type recentTable struct {
	startTime   uint64
	at          time.Time
	descriptors map[uint32]int // by inode
}

// lately is how old the list of descriptors can be that HeldLately goes by.
const lately = 200 * time.Millisecond

// HeldLately is Holds for many sockets of one process in a row: it lists the
// descriptors once, and for a short time only looks whether the one that it
// knows still is the socket.
func (f *FS) HeldLately(pid int, startTime uint64, inode uint32) (bool, error) {
	t, ok := f.recent[pid]
	if ok && t.startTime == startTime && time.Since(t.at) <= lately {
		fd, listed := t.descriptors[inode]
		if !listed || f.isSocket(pid, fd, inode) {
			return listed, nil
		}
	}
	held, ofThreads, err := f.socketsOf(pid, startTime)
	if err != nil {
		return false, err
	}
	held = append(held, ofThreads...)
	t = recentTable{startTime, time.Now(), make(map[uint32]int, len(held))}
	for _, s := range slices.Backward(held) { // of several the first: the process itself has that
		t.descriptors[s.Inode] = s.FD
	}
	if f.recent == nil || len(f.recent) > 1000 {
		f.recent = map[int]recentTable{}
	}
	f.recent[pid] = t
	_, listed := t.descriptors[inode]
	return listed, nil
}

func (f *FS) isSocket(pid, fd int, inode uint32) bool {
	link, err := os.Readlink(f.path(strconv.Itoa(pid), "fd", strconv.Itoa(fd)))
	if err != nil {
		return false
	}
	i, ok := socketInode([]byte(link))
	return ok && i == inode
}
