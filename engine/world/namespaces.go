package world

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/host"
	"sockwarden/collectors/netns"
	"sockwarden/collectors/procfs"
)

// HostName is the name of the namespace that this process runs in.
const HostName = netns.HostName

// IsPattern reports whether a name of a namespace is a pattern, which may mean none.
func IsPattern(name string) bool { return netns.IsPattern(name) }

// kernelNamespaces are the network namespaces of the kernel.
type kernelNamespaces struct {
	engines engines
	leading *leading
	// cover says which processes cannot be seen, and so which namespaces.
	cover func() Coverage
}

func newKernelNamespaces(e engines, cover func() Coverage) kernelNamespaces {
	return kernelNamespaces{e, &leading{proc: procfs.New(""), since: map[int]uint64{}}, cover}
}

// hides reports whether processes are not to be seen at all, in namespaces of their own.
func (k kernelNamespaces) hides() bool {
	cover := k.cover()
	return cover.HidePID != "" || cover.Inside
}

// Select asks for containers of that name where no namespace has it, and for those that
// match a pattern, too. For "all" it returns those that it found with ErrNotPermitted, if
// there may be others.
func (k kernelNamespaces) Select(ctx context.Context, name string) ([]Namespace, error) {
	if name == everywhere {
		return k.visible()
	}
	if err := k.leading.same(name); err != nil {
		return nil, err
	}
	handles, err := netns.Select(name)
	missing, _ := errors.AsType[*netns.MissingError](err)
	if IsPattern(name) && (err == nil || missing != nil) {
		return k.matching(ctx, name, handles, err)
	}
	if missing != nil && missing.Name == name {
		return k.engines.namespace(ctx, missing)
	}
	return namespacesOf(handles), noEntry(err)
}

// everywhere is the name that means every namespace.
const everywhere = "all"

// visible returns the namespaces of all processes that may be examined. What is outside of
// this PID namespace is not missing: nobody here can mean it.
func (k kernelNamespaces) visible() ([]Namespace, error) {
	handles, err := netns.Every()
	if hides := k.cover().HidePID; err == nil && hides != "" {
		err = fmt.Errorf("/proc hides processes (%s), and so their network namespaces: %w", hides, collectors.ErrNotPermitted)
	}
	if errors.Is(err, collectors.ErrNotPermitted) {
		err = fmt.Errorf("%w: %s", err, AsRoot("CAP_SYS_PTRACE"))
	}
	return namespacesOf(handles), err
}

// matching adds the namespaces of containers to those whose names match a pattern. What
// they are called comes first.
func (k kernelNamespaces) matching(ctx context.Context, pattern string, handles []netns.Handle, none error) ([]Namespace, error) {
	found, err := k.engines.matching(ctx, pattern)
	for _, ns := range namespacesOf(handles) {
		if !slices.ContainsFunc(found, func(f Namespace) bool { return f.Inode == ns.Inode }) {
			found = append(found, ns)
		}
	}
	if len(found) == 0 && err == nil {
		err = none
	}
	return found, err
}

func (kernelNamespaces) All() ([]Namespace, error) {
	handles, err := netns.List()
	return namespacesOf(handles), err
}

func (k kernelNamespaces) Every() ([]Namespace, error) {
	handles, err := netns.Every()
	if err == nil && k.hides() {
		err = fmt.Errorf("processes of this host cannot all be seen: %w", collectors.ErrNotPermitted)
	}
	return namespacesOf(handles), err
}

func namespacesOf(handles []netns.Handle) []Namespace {
	all := make([]Namespace, len(handles))
	for i, h := range handles {
		all[i] = Namespace{Namespace: collectors.Namespace{Inode: h.Inode, Name: h.Name}, PID: h.PID}
		if h.Name != netns.HostName {
			all[i].Open = h.Open
		}
	}
	return all
}

// leading are the processes through which paths of namespaces led, with when they
// started: in a watcher another process may have got the number of one that has ended.
type leading struct {
	sync.Mutex
	proc  *procfs.FS
	since map[int]uint64
}

// same is a MissingError if a path leads through another process than it did before.
func (l *leading) same(path string) error {
	pid := netns.ProcessOf(path)
	if pid == 0 {
		return nil
	}
	started, err := l.proc.StartTime(pid)
	l.Lock()
	defer l.Unlock()
	was, known := l.since[pid]
	switch {
	case err == nil && known && was != started:
		return &netns.MissingError{Name: path}
	case err == nil:
		l.since[pid] = started
	}
	return nil // what cannot be read, netns says
}

// ErrNoEntry says that this process may not enter a network namespace, with what it
// needs. It is collectors.ErrNotPermitted, too.
var ErrNoEntry = errors.New("cannot be entered")

// noEntry makes ErrNoEntry of what the kernel does not permit.
func noEntry(err error) error {
	if !errors.Is(err, fs.ErrPermission) || errors.Is(err, ErrNoEntry) {
		return err
	}
	cure := AsRoot("CAP_SYS_ADMIN and CAP_SYS_PTRACE")
	admin, _ := host.HasCapability(unix.CAP_SYS_ADMIN)
	ptrace, _ := host.HasCapability(unix.CAP_SYS_PTRACE)
	switch {
	case admin && ptrace:
		cure = "it belongs to a user namespace beyond this one: run on the host itself"
	case ptrace:
		cure = AsRoot("CAP_SYS_ADMIN")
	}
	return fmt.Errorf("%w: %w (%s): %s", ErrNoEntry, collectors.ErrNotPermitted, errnoName(err), cure)
}

// open returns a descriptor of the namespace, -1 for our own.
func (ns *Namespace) open() (fd int, closeNS func(), err error) {
	if ns.Open == nil {
		return -1, func() {}, nil
	}
	f, err := ns.Open()
	if err != nil {
		return -1, nil, noEntry(err)
	}
	return int(f.Fd()), func() { _ = f.Close() }, nil
}

// inside runs f in the namespace.
func (ns *Namespace) inside(f func() error) error {
	if ns.Open == nil {
		return f()
	}
	file, err := ns.Open()
	if err != nil {
		return noEntry(err)
	}
	defer func() { _ = file.Close() }()
	entered := false
	err = netns.Do(file, func() error {
		entered = true
		return f()
	})
	if !entered {
		err = noEntry(err)
	}
	return err
}

// IsOwn reports whether it is the namespace that this process is in.
func (ns *Namespace) IsOwn() bool { return ns.Open == nil }
