package procfs

import (
	"context"
	"fmt"

	"sockwarden/collectors/stuck"
)

// hungRead is a read of the memory of a process that does not return.
type hungRead struct {
	startTime uint64
	call      *stuck.Call
}

// cmdline reads the arguments of a process from its memory. For that the kernel
// takes a lock, which threads of the process can keep for ever (they read memory
// through /proc/self/mem that is mapped from FUSE, and map more): then the read is
// left behind, and not tried again as long as it does not return.
func (ps *Processes) cmdline(p process, startTime uint64) ([]byte, error) {
	if h, ok := ps.hung[p.pid]; ok {
		if h.startTime == startTime && !h.call.Back() {
			return nil, h.call
		}
		delete(ps.hung, p.pid)
	}
	var text []byte
	var failed error
	err := stuck.Do(context.Background(), fmt.Sprintf("cmdline of process %d", p.pid), func() { text, failed = p.read("cmdline") })
	if call := stuck.In(err); call != nil {
		if ps.hung == nil {
			ps.hung = map[int]hungRead{}
		}
		ps.hung[p.pid] = hungRead{startTime, call}
		return nil, err
	}
	return text, failed
}

// Hanging returns what does not return from the kernel, as errors.
func (ps *Processes) Hanging() (all []error) {
	for pid, h := range ps.hung {
		if h.call.Back() {
			delete(ps.hung, pid)
			continue
		}
		all = append(all, h.call)
	}
	return all
}
