package procfs

import (
	"errors"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// glanceFor is how long a description of a process stays good.
const glanceFor = 20 * time.Millisecond

// Glance looks once more at known owners of sockets, just before an action. For each
// socket it asks whether they still hold it; who they are it asks only now and then. It
// sees what became of known owners, not whether the socket has new ones.
type Glance struct {
	of        *Processes
	processes map[int]*glimpsed
}

// glimpsed is a process as a Glance saw it.
type glimpsed struct {
	process
	at    time.Time
	owner collectors.Owner
	st    stat
	err   error
}

// Glance starts looking. Close ends it.
func (ps *Processes) Glance() *Glance { return &Glance{of: ps, processes: map[int]*glimpsed{}} }

// Close closes the processes.
func (g *Glance) Close() {
	for _, p := range g.processes {
		if p.err == nil {
			p.close()
		}
	}
	g.processes = nil
}

// Holders returns the owners that still hold the socket, each as it is now: its name and
// user may have changed. unseen counts owners whose state can no longer be read; they are
// not among the holders.
func (g *Glance) Holders(owners []collectors.Owner, inode uint32) (now []collectors.Owner, unseen int) {
	for i := range owners {
		was := &owners[i]
		p := g.open(was)
		if p.err != nil {
			if !isGone(p.err) {
				unseen++
			}
			continue
		}
		if p.st.startTime != was.StartTime {
			continue // another process has its PID
		}
		fd, err := p.holds(g.of.mount, was.FD, inode)
		switch {
		case err == nil:
			o := p.owner
			o.FD, o.FDs, o.Known = fd, was.FDs, o.Known.Or(was.Known.And(collectors.Fields(collectors.FieldFDs)))
			now = append(now, o)
		case was.Told && errors.Is(err, collectors.ErrNotPermitted): // it still runs, and BPF has told lately what it holds
			o := p.owner
			o.FD, o.FDs, o.Told, o.Known = was.FD, was.FDs, true, o.Known.Or(was.Known.And(collectors.Fields(collectors.FieldFDs)))
			now = append(now, o)
		case !errors.Is(err, collectors.ErrGone):
			unseen++
		}
	}
	return now, unseen
}

// StillHeld reports whether every owner that Holders returned still has the socket, just
// before an action; mostly it takes a few microseconds. Of a process that cannot be
// examined it only sees that it exists.
func (g *Glance) StillHeld(owners []collectors.Owner, inode uint32) bool {
	for i := range owners {
		p, ok := g.processes[owners[i].PID]
		if !ok || p.err != nil {
			return false
		}
		if owners[i].Told {
			continue
		}
		if _, err := p.holds(g.of.mount, owners[i].FD, inode); err != nil { // any other descriptor, even a thread's, will do
			return false
		}
	}
	return true
}

func (g *Glance) open(was *collectors.Owner) *glimpsed {
	pid := was.PID
	p, ok := g.processes[pid]
	if ok && time.Since(p.at) < glanceFor {
		return p
	}
	if ok && p.err == nil {
		p.close()
	}
	p = &glimpsed{at: time.Now()}
	g.processes[pid] = p
	if p.process, p.err = g.of.open(pid); p.err != nil {
		return p
	}
	if p.st, p.err = p.stat(); p.err == nil {
		// What was unreadable when we found the owner can hang.
		p.err = g.of.describeBut(p.process, &p.owner, collectors.Fields(collectors.FieldCmdline).AndNot(was.Known))
	}
	if p.err != nil {
		p.close()
	}
	return p
}

// holds returns a descriptor by which the process has the socket, preferably the known
// one. The error is ErrGone if there is none.
func (p *glimpsed) holds(m mount, fd int, inode uint32) (int, error) {
	if p.st.holdsNothing() {
		return -1, collectors.ErrGone
	}
	if p.isSocket(fd, inode) {
		return fd, nil
	}
	wanted := map[uint32]bool{inode: true}
	held, _, err := p.sockets("fd", wanted)
	if err != nil {
		return -1, classify(err)
	}
	if held = append(held, m.ofThreads(p.process, &p.st, wanted)...); len(held) > 0 {
		return held[0].FD, nil
	}
	return -1, collectors.ErrGone
}

// isSocket reports whether a descriptor is the socket.
func (p *glimpsed) isSocket(fd int, inode uint32) bool {
	var link [64]byte
	n, err := unix.Readlinkat(p.dir, p.up+"fd/"+strconv.Itoa(fd), link[:])
	if err != nil {
		return false
	}
	i, ok := socketInode(link[:n])
	return ok && i == inode
}
