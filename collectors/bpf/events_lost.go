package bpf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf"
)

// losses is how many events were lost, as far as that is known.
type losses struct {
	mu  sync.Mutex
	all uint64
}

// batch is how many entries are read at a time.
const batch = 4096

// Lost returns how many transitions since Attached the kernel has seen and Lookup does not
// know: their entries had to make room for others, or there was none for them, or the kernel
// did not run the program (Linux 6.2, when it was running on the same CPU). It never
// decreases. It can be behind by as many as happen meanwhile.
func (e *Events) Lost() (uint64, error) {
	e.lost.mu.Lock()
	defer e.lost.mu.Unlock()
	// Read in this order, what happens meanwhile makes it too low, never too high.
	before, err := e.counts()
	if err != nil {
		return e.lost.all, err
	}
	displaced := uint64(0)
	// The kernel makes room when a CPU finds none, which others can still have.
	if noted, ended := before[countNoted/8], before[countEnded/8]; noted > ended+e.capacity/2 {
		kept, err := e.kept()
		if err != nil {
			return e.lost.all, err
		}
		after, err := e.counts()
		if err != nil {
			return e.lost.all, err
		}
		if gone := after[countEnded/8] + kept; noted > gone {
			displaced = noted - gone
		}
	}
	all := displaced + before[countRefused/8]
	if stats, err := e.program.Stats(); err == nil {
		all += stats.RecursionMisses
	}
	e.lost.all = max(e.lost.all, all)
	return e.lost.all, nil
}

func (e *Events) counts() (n [countsSize / 8]uint64, err error) {
	var v [countsSize]byte
	if err := e.maps[mapCounts].Lookup(uint32(0), &v); err != nil {
		return n, fmt.Errorf("count TCP states: %w", classify(err))
	}
	for i := range n {
		n[i] = binary.NativeEndian.Uint64(v[8*i:])
	}
	return n, nil
}

// kept counts the entries that there are.
func (e *Events) kept() (n uint64, err error) {
	var at ebpf.MapBatchCursor
	keys, values := make([]uint64, batch), make([][valueSize]byte, batch)
	for {
		some, err := e.maps[mapEntries].BatchLookup(&at, keys, values, nil)
		n += uint64(some)
		if errors.Is(err, ebpf.ErrKeyNotExist) {
			return n, nil
		}
		if err != nil {
			return n, fmt.Errorf("count TCP states: %w", classify(err))
		}
	}
}
