package procfs

import (
	"context"
	"fmt"

	"sockwarden/collectors/stuck"
)

// hungRead is a read of a process's memory that does not return.
type hungRead struct {
	startTime uint64
	call      *stuck.Call
}

// cmdline reads the arguments of a process from its memory. For that the kernel takes a
// lock that threads of the process can hold for ever: one reads memory that is mapped
// from FUSE through /proc/self/mem, another one maps more. Such a read is left behind,
// and cmdline does not try again until it returns.
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

// Hanging returns, as errors, the calls that have not returned from the kernel.
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
