package procfs

import (
	"fmt"

	"sockwarden/collectors"
)

// Descriptor returns a descriptor by which the process pid that started at
// startTime holds the socket. It is ErrGone if that process is no more or does
// not hold it any more.
func (f *FS) Descriptor(pid int, startTime uint64, inode uint32) (int, error) {
	p, err := f.open(pid)
	if err != nil {
		return -1, classify(err)
	}
	defer p.close()
	st, err := p.stat()
	if err != nil {
		return -1, classify(err)
	}
	held, _, err := p.sockets("fd", map[uint32]bool{inode: true})
	switch {
	case err != nil:
		return -1, classify(err)
	case st.startTime != startTime, len(held) == 0:
		return -1, fmt.Errorf("process %d does not hold the socket any more: %w", pid, collectors.ErrGone)
	}
	return held[0].fd, nil
}

// SocketInodes returns the sockets that the process pid that started at
// startTime holds. It is ErrGone if that process is no more.
func (f *FS) SocketInodes(pid int, startTime uint64) ([]uint32, error) {
	p, err := f.open(pid)
	if err != nil {
		return nil, classify(err)
	}
	defer p.close()
	st, err := p.stat()
	if err != nil {
		return nil, classify(err)
	}
	if st.startTime != startTime {
		return nil, fmt.Errorf("process %d of start time %d: %w", pid, startTime, collectors.ErrGone)
	}
	held, _, err := p.sockets("fd", nil)
	if err != nil {
		return nil, classify(err)
	}
	inodes := make([]uint32, len(held))
	for i, d := range held {
		inodes[i] = d.inode
	}
	return inodes, nil
}

// InUnit returns the processes of a systemd unit.
func (f *FS) InUnit(unit string) ([]collectors.Owner, error) {
	pids, err := f.pids()
	if err != nil {
		return nil, err
	}
	var members []collectors.Owner
	for _, pid := range pids {
		p, err := f.open(pid)
		if err != nil {
			continue // ended meanwhile
		}
		if b, err := p.read("cgroup"); err == nil && unitOf(parseCgroup(b)) == unit {
			var o collectors.Owner
			if f.describe(p, &o) == nil {
				members = append(members, o)
			}
		}
		p.close()
	}
	return members, nil
}
