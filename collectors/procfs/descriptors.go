package procfs

import (
	"fmt"

	"sockwarden/collectors"
)

// Descriptors says which sockets a process holds, and borrows them.
type Descriptors struct {
	mount
	recent map[int]recentTable // of HeldLately
}

// Holds reports whether the process pid that started at startTime still has the socket in
// a descriptor table. The error is ErrGone if that process has ended, and ErrNotPermitted
// if its tables cannot be read.
func (d *Descriptors) Holds(pid int, startTime uint64, inode uint32) (bool, error) {
	p, st, err := d.openStarted(pid, startTime)
	if err != nil {
		return false, err
	}
	defer p.close()
	if st.holdsNothing() {
		return false, nil
	}
	wanted := map[uint32]bool{inode: true}
	held, _, err := p.sockets("fd", wanted)
	if err != nil {
		return false, classify(err)
	}
	return len(held) > 0 || len(d.ofThreads(p, &st, wanted)) > 0, nil
}

// Descriptor returns a descriptor by which the process pid that started at startTime
// holds the socket. The error is ErrGone if that process has ended or no longer holds the
// socket, and ErrNotSupported if only threads with their own table hold it: the process
// cannot use their descriptors.
func (d *Descriptors) Descriptor(pid int, startTime uint64, inode uint32) (int, error) {
	p, st, err := d.openStarted(pid, startTime)
	if err != nil {
		return -1, err
	}
	defer p.close()
	gone := fmt.Errorf("process %d no longer holds the socket: %w", pid, collectors.ErrGone)
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
	case len(d.ofThreads(p, &st, wanted)) > 0:
		return -1, fmt.Errorf("only a thread of process %d holds the socket: %w", pid, collectors.ErrNotSupported)
	}
	return -1, gone
}

// SocketInodes returns the sockets that the process pid that started at startTime holds.
// The error is ErrGone if that process has ended.
func (d *Descriptors) SocketInodes(pid int, startTime uint64) ([]uint32, error) {
	held, ofThreads, err := d.socketsOf(pid, startTime)
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

// socketsOf lists the sockets of a process, and those of threads with their own table.
func (d *Descriptors) socketsOf(pid int, startTime uint64) (held, ofThreads []Held, err error) {
	p, st, err := d.openStarted(pid, startTime)
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
	return held, d.ofThreads(p, &st, nil), nil
}
