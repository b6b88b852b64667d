package bpf

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"
)

// license is the license of the programs: the helpers that they call require one that is
// compatible with the GPL.
const license = "Dual MIT/GPL"

// program is the name of the only program of a collection.
const program = "sockwarden"

// load writes a program for the running kernel and loads it with its maps. It parses the
// kernel's types once, which takes most of the time, and does not keep them.
func load(to string, kind ebpf.AttachType, write func(*layout) asm.Instructions, maps map[string]*ebpf.MapSpec) (*ebpf.Collection, error) {
	cache := btf.NewCache()
	types, err := cache.Kernel()
	if err != nil {
		return nil, fmt.Errorf("read the kernel's types: %w", classify(err))
	}
	l := layout{types: types}
	code := write(&l)
	if l.err != nil {
		return nil, classify(l.err)
	}
	spec := &ebpf.CollectionSpec{
		Maps: maps,
		Programs: map[string]*ebpf.ProgramSpec{program: {
			Name: program, Type: ebpf.Tracing, AttachType: kind, AttachTo: to,
			License: license, Instructions: code,
		}},
	}
	options := ebpf.CollectionOptions{Cache: cache}
	c, err := ebpf.NewCollectionWithOptions(spec, options)
	if errors.Is(err, unix.EPERM) && unlockMemory() == nil {
		c, err = ebpf.NewCollectionWithOptions(spec, options)
	}
	if err != nil {
		return nil, classify(err)
	}
	return c, nil
}

// unlockMemory lifts the limit that BPF objects count against before Linux 5.11;
// exceeding it is EPERM, too.
func unlockMemory() error {
	var now unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &now); err != nil {
		return fmt.Errorf("RLIMIT_MEMLOCK: %w", err)
	}
	if now.Cur == unix.RLIM_INFINITY {
		return errors.New("there is no limit")
	}
	if err := unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}); err != nil {
		return fmt.Errorf("RLIMIT_MEMLOCK: %w", err)
	}
	return nil
}
