package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
)

// covered is what /proc was found not to show.
type covered struct {
	sync.Mutex // guards are asked by several goroutines
	procfs.Coverage
	at float64 // CLOCK_MONOTONIC, 0 for never
}

// coverage returns what /proc does not show. Mounts hardly ever change, and
// reading their table takes long where there are many.
func (e *Engine) coverage() procfs.Coverage {
	const recent = 1.0 // seconds
	e.cover.Lock()
	defer e.cover.Unlock()
	if now := monotonic(); e.cover.at == 0 || now-e.cover.at > recent {
		e.cover.Coverage, e.cover.at = e.proc.Coverage(), now
	}
	return e.cover.Coverage
}

// outside are the listeners by which it is found out whether processes that
// cannot be seen use a namespace.
type outside struct {
	listeners map[*namespace][]uint32 // inodes
	failed    map[*namespace]error
}

// askOutside adds the listeners of the candidates' namespaces to the sockets of
// which the holders are looked for, where this is a PID namespace inside another.
func (e *Engine) askOutside(ctx context.Context, c *cycle, inodes map[uint32]bool) *outside {
	o := &outside{map[*namespace][]uint32{}, map[*namespace]error{}}
	if !e.coverage().Inside || len(inodes) == 0 {
		return o
	}
	for _, cand := range c.candidates {
		if _, asked := o.listeners[cand.ns]; asked || cand.Socket.Inode == 0 && !waits(&cand.Socket) {
			continue
		}
		o.listeners[cand.ns], o.failed[cand.ns] = e.listening(ctx, cand.ns)
		for _, inode := range o.listeners[cand.ns] {
			inodes[inode] = true
		}
	}
	return o
}

// hides returns for each namespace why processes that cannot be seen may hold
// its sockets, too; those with "" have none that is known of.
func (e *Engine) hides(ctx context.Context, c *cycle, o *outside, holders *ownership) map[*namespace]string {
	why := map[*namespace]string{}
	cover := e.coverage()
	for _, cand := range c.candidates {
		if _, known := why[cand.ns]; known {
			continue
		}
		switch {
		case cover.HidePID != "":
			why[cand.ns] = "/proc hides processes (" + cover.HidePID + "): " + asRoot("CAP_SYS_PTRACE")
		case len(holders.Unreadable) > 0:
			why[cand.ns] = e.unexamined(holders.Unreadable)
		case cover.Inside:
			if why[cand.ns] = e.usedOutside(ctx, cand.ns, o, holders); why[cand.ns] != "" {
				why[cand.ns] += ": run with --pid=host"
			}
		default:
			why[cand.ns] = ""
		}
	}
	return why
}

// unexamined names the first of the processes that cannot be examined, why not, and
// what helps.
func (e *Engine) unexamined(all []procfs.Unreadable) string {
	first, pids := all[0], map[int]bool{}
	for _, u := range all {
		pids[u.PID] = true
		if u.PID < first.PID {
			first = u
		}
	}
	text := fmt.Sprintf("process %d", first.PID)
	if first.Comm != "" {
		text = fmt.Sprintf("%s[%d]", strings.Map(graphic, first.Comm), first.PID)
	}
	if n := len(pids) - 1; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	text += fmt.Sprintf(" cannot be examined (%s)", errnoName(first.Err))
	switch {
	case !procfs.MayExamine():
		return text + ": " + asRoot("CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH")
	case e.coverage().Foreign:
		return text + ", and BPF cannot tell of the processes of another PID namespace: run where /proc was mounted"
	}
	text += " even by root"
	switch err := e.ownersErr; {
	case errors.Is(err, collectors.ErrNotPermitted):
		return text + ": run with CAP_BPF and CAP_PERFMON, so that the kernel can tell (--owners=bpf)"
	case errors.Is(err, collectors.ErrNotSupported):
		return text + ", and this kernel cannot tell (--owners=bpf says why)"
	case err != nil:
		return text + fmt.Sprintf(", and --owners=bpf fails: %v", err)
	}
	return text + ", and the kernel does not show either what it holds (BPF)"
}

// asRoot says what helps who lacks capabilities, which root can, too.
func asRoot(capabilities string) string {
	if os.Geteuid() == 0 {
		return "run with " + capabilities
	}
	return "run as root, or with " + capabilities
}

// graphic makes names of processes, which are hostile text, harmless.
func graphic(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return '?'
}

// errnoName is the name of the errno in an error, or its text.
func errnoName(err error) string {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return cmp.Or(unix.ErrnoName(errno), errno.Error())
	}
	return fmt.Sprint(err)
}

// usedOutside returns how it shows that a network namespace is also used by
// processes outside of this PID namespace: it is the machine's, or somebody
// listens in it who cannot be seen.
func (e *Engine) usedOutside(ctx context.Context, ns *namespace, o *outside, holders *ownership) string {
	initial := true
	err := inside(ns, func() error {
		initial = e.proc.InitialNetwork()
		return nil
	})
	if err != nil || initial {
		return "this PID namespace does not show the processes of the host, whose network it is"
	}
	if o.failed[ns] != nil {
		return fmt.Sprintf("whether processes outside of this PID namespace listen cannot be told: %v", o.failed[ns])
	}
	var unseen []uint32
	for _, inode := range o.listeners[ns] {
		if len(holders.ByInode[inode]) == 0 {
			unseen = append(unseen, inode)
		}
	}
	if len(unseen) == 0 {
		return ""
	}
	// What was closed meanwhile is nobody's.
	now, err := e.listening(ctx, ns)
	still := map[uint32]bool{}
	for _, inode := range now {
		still[inode] = true
	}
	for _, inode := range unseen {
		if err != nil || still[inode] {
			return "processes that this PID namespace does not show listen in its network"
		}
	}
	return ""
}

// listening returns the inodes of the TCP listeners of a namespace.
func (e *Engine) listening(ctx context.Context, ns *namespace) ([]uint32, error) {
	fd, closeNS, err := openNS(ns)
	if err != nil {
		return nil, err
	}
	defer closeNS()
	for _, source := range e.opts.Sources {
		var all []collectors.Socket
		if shut := e.shut(ns); shut != nil && source.Actionable {
			err = shut
			continue
		}
		if all, err = e.listenersBy(ctx, source.New(fd)); err != nil {
			continue
		}
		inodes := make([]uint32, 0, len(all))
		for i := range all {
			if all[i].Inode != 0 {
				inodes = append(inodes, all[i].Inode)
			}
		}
		return inodes, nil
	}
	return nil, err
}

// unseen says why what is known of a candidate's owners may not be all, for the
// guards, and what helps.
func (c *Candidate) unseen(what string) string {
	return what + ": " + cmp.Or(c.hidden, nobodyHas) + ", or --allow-unknown-owner"
}

// nobodyHas is why the owner of a socket is not seen although every process is.
const nobodyHas = "no process has it, it is on the way from one to another or the kernel's own: wait"

// hiddenOwners returns why it is not known of all processes whether they hold
// the socket or its listener, "" if it is.
func (c *Candidate) hiddenOwners() string {
	switch {
	case c.OwnerHidden():
		return c.unseen("owner not visible")
	case len(c.Facts.Owners) > 0 && c.Facts.OthersHidden:
		return c.unseen("other owners may not be visible")
	case waits(&c.Socket) && (c.Facts.ListenerOwner == nil || c.listenersUnseen):
		return c.unseen(waitsFor(&c.Socket) + "owner of its listener not visible")
	case waits(&c.Socket) && c.Facts.OthersHidden:
		return c.unseen(waitsFor(&c.Socket) + "other owners of its listener may not be visible")
	}
	return ""
}

// waitsFor begins the reasons that are about the listener of a socket.
func waitsFor(s *collectors.Socket) string {
	if s.State == collectors.SynRecv {
		return "its handshake is under way: "
	}
	return "waits to be accepted: "
}
