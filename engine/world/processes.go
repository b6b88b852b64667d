package world

import (
	"context"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
	"sockwarden/collectors/stuck"
)

// kernelProcesses are those of /proc.
type kernelProcesses struct{ proc *procfs.FS }

func (kernelProcesses) Glance() Glance { return procfs.New("").Glance() }

func (k kernelProcesses) Together(o *collectors.Owner) ([]collectors.Owner, error) {
	if o.Container != "" {
		return k.proc.InContainer(o)
	}
	return k.proc.InUnit(o)
}

func (k kernelProcesses) Sockets(o *collectors.Owner) ([]Held, error) {
	return k.proc.Sockets(o.PID, o.StartTime)
}

func (k kernelProcesses) Borrow(o *collectors.Owner, held []Held, visit func(Borrowed) error) error {
	return k.proc.Borrow(o.PID, o.StartTime, held, func(h Held, fd int) error { return visit(borrowed{h.Inode, fd}) })
}

func (k kernelProcesses) Proxies(ctx context.Context) (all []collectors.Proxy) {
	owners, _ := k.proc.Named(ctx, "docker-proxy")
	for i := range owners {
		if p, ok := owners[i].Proxy(); ok {
			all = append(all, p)
		}
	}
	return all
}

func (k kernelProcesses) Hanging() []error { return k.proc.Hanging() }

func (kernelProcesses) Asleep(ctx context.Context) string {
	var asleep []procfs.Sleeper
	// It looks at every process, and each of them can hold it up, too.
	if stuck.Do(context.WithoutCancel(ctx), "/proc", func() { asleep = procfs.New("").AsleepInSockets() }) != nil {
		return ""
	}
	var names []string
	for _, s := range asleep {
		names = append(names, fmt.Sprintf("%s[%d] keeps the lock of socket:[%d] (it sleeps in %s)", s.Name, s.PID, s.Inode, s.Where))
	}
	if more := len(names) - 3; more > 0 {
		names = append(names[:3], fmt.Sprintf("and %d more", more))
	}
	return strings.Join(names, ", ")
}

// borrowed is a duplicate of a descriptor of another process.
type borrowed struct {
	inode uint32
	fd    int
}

func (b borrowed) Inode() uint32 { return b.inode }

func (b borrowed) State() (state collectors.State, queued int, err error) {
	info, err := unix.GetsockoptTCPInfo(b.fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil {
		return 0, 0, fmt.Errorf("state of a socket: %w", err)
	}
	return collectors.State(info.State), int(info.Unacked), nil
}

func (b borrowed) Cookie() (uint64, error) {
	cookie, err := unix.GetsockoptUint64(b.fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	if err != nil {
		return 0, fmt.Errorf("cookie of a socket: %w", err)
	}
	return cookie, nil
}

func (b borrowed) Namespace(use func(*Namespace) error) error {
	ns, err := unix.IoctlRetInt(b.fd, unix.SIOCGSKNS)
	if err != nil {
		return fmt.Errorf("network namespace of a socket: %w", err)
	}
	file := os.NewFile(uintptr(ns), "network namespace")
	defer func() { _ = file.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(ns, &st); err != nil {
		return fmt.Errorf("network namespace of a socket: %w", err)
	}
	open := func() (*os.File, error) {
		dup, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
		return os.NewFile(uintptr(dup), file.Name()), err
	}
	return use(&Namespace{Namespace: collectors.Namespace{Inode: st.Ino, Name: fmt.Sprintf("net:[%d]", st.Ino)}, Open: open})
}
