package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"sockwarden/collectors"
	"sockwarden/collectors/bpf"
	"sockwarden/collectors/procfs"
)

// OwnerSource says how it is found out who holds a socket.
type OwnerSource string

// The ways to find owners. Auto takes BPF where it may and where it pays.
const (
	OwnersAuto OwnerSource = "auto"
	OwnersBPF  OwnerSource = "bpf"
	OwnersProc OwnerSource = "proc"
)

const (
	// processesAtATime is how many processes a worker takes: their tables are of
	// very different lengths.
	processesAtATime = 16
	// worthBPF is from how many open files on loading the program costs less than
	// reading the tables of all processes.
	worthBPF = 30_000
)

// holders finds the owners of sockets.
func (e *Engine) holders(ctx context.Context, inodes map[uint32]bool) (procfs.Holders, error) {
	if len(inodes) == 0 {
		return procfs.Holders{}, nil
	}
	var found procfs.Found
	by, err := e.ownersProgram()
	if err == nil && by != nil {
		found, err = e.scanDescriptors(ctx, by, inodes)
	} else if err == nil {
		found, err = e.searchTables(ctx, inodes)
	}
	if err != nil {
		return procfs.Holders{}, err
	}
	return e.proc.Owners(ctx, inodes, found)
}

// ownersProgram returns the BPF program that finds owners, loaded when it is
// first of use; nil if they are found through /proc.
func (e *Engine) ownersProgram() (*bpf.Owners, error) {
	switch {
	case e.opts.Owners != OwnersBPF && e.coverage().Foreign:
		return nil, nil // the program numbers processes as system calls do
	case e.coverage().Foreign:
		return nil, fmt.Errorf("--owners=bpf: /proc has the processes of another PID namespace: %w", collectors.ErrNotSupported)
	case e.ownersBy != nil || e.ownersTried:
		return e.ownersBy, nil
	case e.opts.Owners == OwnersProc, e.opts.Owners != OwnersBPF && !e.watching && e.proc.OpenFiles() < worthBPF:
		return nil, nil
	}
	var err error
	e.ownersBy, err = bpf.OpenOwners()
	switch {
	case err == nil:
		e.log.Debug("owners by BPF")
	case e.opts.Owners == OwnersBPF:
		return nil, fmt.Errorf("--owners=bpf: %w", err)
	case errors.Is(err, collectors.ErrNotPermitted), errors.Is(err, collectors.ErrNotSupported):
		e.ownersTried = true
		e.log.Debug("owners by /proc", "error", err)
	default:
		e.ownersTried = true
		e.log.Warn("owners by /proc", "error", err)
	}
	return e.ownersBy, nil
}

// scanDescriptors asks the program for all descriptors, and /proc only for the
// processes that hold one of the sockets.
func (e *Engine) scanDescriptors(ctx context.Context, by *bpf.Owners, inodes map[uint32]bool) (procfs.Found, error) {
	held := map[int][]procfs.Held{}
	err := by.Scan(ctx, func(h bpf.Holder) bool {
		if inodes[h.Inode] {
			held[h.PID] = append(held[h.PID], procfs.Held{Inode: h.Inode, FD: h.FD})
		}
		return true
	})
	if err != nil {
		return procfs.Found{}, err
	}
	return e.proc.Confirm(ctx, held, inodes)
}

// searchTables looks through the descriptor tables of all processes, on all
// processors.
func (e *Engine) searchTables(ctx context.Context, inodes map[uint32]bool) (procfs.Found, error) {
	pids, err := e.proc.PIDs()
	if err != nil {
		return procfs.Found{}, err
	}
	var (
		mu    sync.Mutex
		all   sync.WaitGroup
		found procfs.Found
		wrong error
	)
	next := func() (part []int) {
		mu.Lock()
		defer mu.Unlock()
		n := min(processesAtATime, len(pids))
		part, pids = pids[:n], pids[n:]
		return part
	}
	work := func() {
		for part := next(); len(part) > 0; part = next() {
			some, err := e.proc.Search(ctx, part, inodes)
			mu.Lock()
			found.Add(some)
			if err != nil {
				wrong = err
			}
			mu.Unlock()
		}
	}
	for range min(e.workers, len(pids)/processesAtATime+1) - 1 {
		all.Go(work)
	}
	work()
	all.Wait()
	return found, wrong
}
