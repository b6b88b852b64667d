package procfs

import (
	"os"
	"slices"
	"strconv"
	"time"
)

// recentTable is what a process held at the last look.
type recentTable struct {
	startTime   uint64
	at          time.Time
	descriptors map[uint32]int // by inode
}

// lately is how old the list behind HeldLately may be.
const lately = 200 * time.Millisecond

// HeldLately is Holds for many sockets of one process in a row: it lists the descriptors
// once, and for a short time only checks whether the known descriptor is still the
// socket.
func (d *Descriptors) HeldLately(pid int, startTime uint64, inode uint32) (bool, error) {
	t, ok := d.recent[pid]
	if ok && t.startTime == startTime && time.Since(t.at) <= lately {
		fd, listed := t.descriptors[inode]
		if !listed || d.isSocket(pid, fd, inode) {
			return listed, nil
		}
	}
	held, ofThreads, err := d.socketsOf(pid, startTime)
	if err != nil {
		return false, err
	}
	held = append(held, ofThreads...)
	t = recentTable{startTime, time.Now(), make(map[uint32]int, len(held))}
	for _, s := range slices.Backward(held) { // the first of several wins: the process itself has it
		t.descriptors[s.Inode] = s.FD
	}
	if d.recent == nil || len(d.recent) > 1000 {
		d.recent = map[int]recentTable{}
	}
	d.recent[pid] = t
	_, listed := t.descriptors[inode]
	return listed, nil
}

func (d *Descriptors) isSocket(pid, fd int, inode uint32) bool {
	link, err := os.Readlink(d.path(strconv.Itoa(pid), "fd", strconv.Itoa(fd)))
	if err != nil {
		return false
	}
	i, ok := socketInode([]byte(link))
	return ok && i == inode
}
