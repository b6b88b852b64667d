package world

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"sockwarden/collectors"
	"sockwarden/collectors/bpf"
	"sockwarden/collectors/procfs"
)

// OwnerSource says how to find out who holds a socket.
type OwnerSource string

// The ways to find owners. Auto uses BPF where it may and where that pays off. Proc uses
// BPF only for the processes that /proc cannot examine.
const (
	OwnersAuto OwnerSource = "auto"
	OwnersBPF  OwnerSource = "bpf"
	OwnersProc OwnerSource = "proc"
)

const (
	// processesAtATime is how many processes a worker takes at a time: the lengths of
	// their tables vary widely.
	processesAtATime = 16
	// worthBPF is how many open files make loading the program cheaper than reading the
	// tables of all processes.
	worthBPF = 30_000
)

// kernelOwners asks /proc, and the kernel by BPF.
type kernelOwners struct {
	how     OwnerSource
	log     *slog.Logger
	proc    *procfs.FS
	workers int
	repeats bool // loading the program pays off

	by    *bpf.Owners // loaded when first needed
	tried bool
	err   error // why it could not be loaded or run
	cover covered
}

// Holders finds the owners of sockets. The result is the same whichever way it looks:
// what /proc does not show of a process, even to root, the kernel does.
func (k *kernelOwners) Holders(ctx context.Context, inodes map[uint32]bool) (Ownership, error) {
	if len(inodes) == 0 {
		return Ownership{}, nil
	}
	by, err := k.ownersProgram()
	if err != nil {
		return Ownership{}, err
	}
	var found procfs.Found
	var scan *census
	if by != nil {
		found, scan, err = k.scanDescriptors(ctx, by, inodes)
	} else if found, err = k.searchTables(ctx, inodes); err == nil && k.isHidden(&found) {
		scan, err = k.askKernel(ctx, inodes)
	}
	if err != nil {
		return Ownership{}, err
	}
	if scan != nil {
		k.proc.Complete(&found, scan.held, scan.visited)
	}
	o := Ownership{}
	if o.Holders, err = k.proc.Owners(ctx, inodes, found); err != nil || scan == nil {
		return o, err
	}
	o.Asked, o.Proven = true, make(map[uint32]bool, len(o.ByInode))
	for inode, owners := range o.ByInode {
		if scan.proves(inode, owners) {
			o.Proven[inode] = true
		}
	}
	return o, nil
}

// isHidden reports whether processes may hold sockets that a search through /proc cannot
// find.
func (k *kernelOwners) isHidden(found *procfs.Found) bool {
	cover := k.Coverage()
	return len(found.Unreadable) > 0 || cover.Inside || cover.HidePID != ""
}

// askKernel scans all descriptors with the program; nil if it may not load that.
func (k *kernelOwners) askKernel(ctx context.Context, inodes map[uint32]bool) (*census, error) {
	if k.Coverage().Foreign {
		return nil, nil //nolint:nilnil // it numbers processes differently
	}
	by := k.loadOwners()
	if by == nil {
		return nil, nil //nolint:nilnil // err says why
	}
	scan, err := takeCensus(ctx, by, inodes)
	switch {
	case ctx.Err() != nil:
		return nil, fmt.Errorf("look for owners: %w", context.Cause(ctx))
	case err != nil:
		k.err = err
		return nil, nil //nolint:nilnil,nilerr // this adds nothing
	}
	return scan, nil
}

// ownersProgram returns the BPF program that finds owners, and loads it on first use; nil
// if /proc serves instead.
func (k *kernelOwners) ownersProgram() (*bpf.Owners, error) {
	switch {
	case k.how != OwnersBPF && k.Coverage().Foreign:
		return nil, nil // the program numbers processes as system calls do
	case k.Coverage().Foreign:
		return nil, fmt.Errorf("--owners=bpf: /proc shows another PID namespace: %w", collectors.ErrNotSupported)
	case k.how == OwnersProc:
		return nil, nil
	case k.by == nil && k.how != OwnersBPF && !k.repeats && k.proc.OpenFiles() < worthBPF:
		return nil, nil
	}
	if by := k.loadOwners(); by != nil || k.how != OwnersBPF {
		return by, nil
	}
	return nil, fmt.Errorf("--owners=bpf: %w", k.err)
}

// loadOwners loads the program, once; nil if that is not allowed or not possible.
func (k *kernelOwners) loadOwners() *bpf.Owners {
	if k.by != nil || k.tried {
		return k.by
	}
	k.tried = true
	k.by, k.err = bpf.OpenOwners()
	switch err := k.err; {
	case err == nil:
		k.log.Debug("owners by BPF")
	case k.how == OwnersBPF: // the caller returns the error
	case errors.Is(err, collectors.ErrNotPermitted), errors.Is(err, collectors.ErrNotSupported):
		k.log.Debug("owners by /proc", "error", err)
	default:
		k.log.Warn("owners by /proc", "error", err)
	}
	return k.by
}

// scanDescriptors asks the program for all descriptors, and /proc only for the processes
// that hold one of the sockets. Processes that cannot be examined matter only if that
// leaves something open.
func (k *kernelOwners) scanDescriptors(ctx context.Context, by *bpf.Owners, inodes map[uint32]bool) (procfs.Found, *census, error) {
	scan, err := takeCensus(ctx, by, inodes)
	if err != nil {
		return procfs.Found{}, nil, err
	}
	found, err := k.proc.Confirm(ctx, scan.held, inodes)
	if err == nil && scan.open(inodes) {
		var unreadable []procfs.Unreadable
		unreadable, err = k.proc.Unreadable(ctx)
		found.Unreadable = append(found.Unreadable, unreadable...)
	}
	return found, scan, err
}

// searchTables looks through the descriptor tables of all processes, on all processors.
func (k *kernelOwners) searchTables(ctx context.Context, inodes map[uint32]bool) (procfs.Found, error) {
	pids, err := k.proc.PIDs()
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
			some, err := k.proc.Search(ctx, part, inodes)
			mu.Lock()
			found.Add(some)
			if err != nil {
				wrong = err
			}
			mu.Unlock()
		}
	}
	for range min(k.workers, len(pids)/processesAtATime+1) - 1 {
		all.Go(work)
	}
	work()
	all.Wait()
	return found, wrong
}
