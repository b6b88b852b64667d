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

// The ways to find owners. Auto takes BPF where it may and where it pays. Proc asks
// BPF only about the processes that cannot be examined.
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

// holders finds the owners of sockets. However it is looked, the same is found:
// what /proc does not tell of a process, to root, the kernel does.
func (e *Engine) holders(ctx context.Context, inodes map[uint32]bool) (ownership, error) {
	if len(inodes) == 0 {
		return ownership{}, nil
	}
	by, err := e.ownersProgram()
	if err != nil {
		return ownership{}, err
	}
	var found procfs.Found
	var scan *census
	if by != nil {
		found, scan, err = e.scanDescriptors(ctx, by, inodes)
	} else if found, err = e.searchTables(ctx, inodes); err == nil && e.isHidden(&found) {
		scan, err = e.askKernel(ctx, inodes)
	}
	if err != nil {
		return ownership{}, err
	}
	if scan != nil {
		e.proc.Complete(&found, scan.held, scan.visited)
	}
	o := ownership{}
	if o.Holders, err = e.proc.Owners(ctx, inodes, found); err != nil || scan == nil {
		return o, err
	}
	o.asked, o.proven = true, make(map[uint32]bool, len(o.ByInode))
	for inode, owners := range o.ByInode {
		if scan.proves(inode, owners) {
			o.proven[inode] = true
		}
	}
	return o, nil
}

// isHidden reports whether processes may hold sockets that a search through /proc
// cannot find.
func (e *Engine) isHidden(found *procfs.Found) bool {
	cover := e.coverage()
	return len(found.Unreadable) > 0 || cover.Inside || cover.HidePID != ""
}

// askKernel scans all descriptors by the program, nil if it may not be loaded.
func (e *Engine) askKernel(ctx context.Context, inodes map[uint32]bool) (*census, error) {
	if e.coverage().Foreign {
		return nil, nil //nolint:nilnil // it numbers processes in another way
	}
	by := e.loadOwners()
	if by == nil {
		return nil, nil //nolint:nilnil // ownersErr says why
	}
	scan, err := takeCensus(ctx, by, inodes)
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("look for owners: %w", context.Cause(ctx))
	case err != nil:
		e.ownersErr = err
		return nil, nil //nolint:nilnil,nilerr // nothing is known besides
	}
	return scan, nil
}

// ownersProgram returns the BPF program that finds owners, loaded when it is
// first of use; nil if they are found through /proc.
func (e *Engine) ownersProgram() (*bpf.Owners, error) {
	switch {
	case e.opts.Owners != OwnersBPF && e.coverage().Foreign:
		return nil, nil // the program numbers processes as system calls do
	case e.coverage().Foreign:
		return nil, fmt.Errorf("--owners=bpf: /proc has the processes of another PID namespace: %w", collectors.ErrNotSupported)
	case e.opts.Owners == OwnersProc:
		return nil, nil
	case e.ownersBy == nil && e.opts.Owners != OwnersBPF && !e.watching && e.proc.OpenFiles() < worthBPF:
		return nil, nil
	}
	if by := e.loadOwners(); by != nil || e.opts.Owners != OwnersBPF {
		return by, nil
	}
	return nil, fmt.Errorf("--owners=bpf: %w", e.ownersErr)
}

// loadOwners loads the program, once; nil if it may not be or cannot.
func (e *Engine) loadOwners() *bpf.Owners {
	if e.ownersBy != nil || e.ownersTried {
		return e.ownersBy
	}
	e.ownersTried = true
	e.ownersBy, e.ownersErr = bpf.OpenOwners()
	switch err := e.ownersErr; {
	case err == nil:
		e.log.Debug("owners by BPF")
	case e.opts.Owners == OwnersBPF: // that ends it
	case errors.Is(err, collectors.ErrNotPermitted), errors.Is(err, collectors.ErrNotSupported):
		e.log.Debug("owners by /proc", "error", err)
	default:
		e.log.Warn("owners by /proc", "error", err)
	}
	return e.ownersBy
}

// scanDescriptors asks the program for all descriptors, and /proc only for the
// processes that hold one of the sockets. Who cannot be examined matters only where
// that leaves something open.
func (e *Engine) scanDescriptors(ctx context.Context, by *bpf.Owners, inodes map[uint32]bool) (procfs.Found, *census, error) {
	scan, err := takeCensus(ctx, by, inodes)
	if err != nil {
		return procfs.Found{}, nil, err
	}
	found, err := e.proc.Confirm(ctx, scan.held, inodes)
	if err == nil && scan.open(inodes) {
		var unreadable []procfs.Unreadable
		unreadable, err = e.proc.Unreadable(ctx)
		found.Unreadable = append(found.Unreadable, unreadable...)
	}
	return found, scan, err
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
