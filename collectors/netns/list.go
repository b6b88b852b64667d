package netns

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// dirs are where ip-netns(8) and docker name namespaces, by mounts. A file stays in
// docker's directory for a while after the container is gone, with nothing mounted on it.
var dirs = [...]string{"/run/netns", "/run/docker/netns"}

// List returns the namespace of this process and all others that have a name
// or a process: the host's first, the others sorted by name. It cannot find a namespace
// that only an open file or socket keeps alive; Select finds that by the path of the
// descriptor. Namespaces of processes that we cannot examine are left out.
func List() ([]Handle, error) {
	l, err := scan()
	return l.all, err
}

// Every is List, but fails with ErrNotPermitted if processes that we cannot examine have
// others.
func Every() ([]Handle, error) {
	l, err := scan()
	if err != nil {
		return l.all, err
	}
	switch n := l.unseen(); n {
	case 0:
	case 1:
		err = fmt.Errorf("1 network namespace belongs to processes that cannot be examined: %w", collectors.ErrNotPermitted)
	default:
		err = fmt.Errorf("%d network namespaces belong to processes that cannot be examined: %w", n, collectors.ErrNotPermitted)
	}
	return l.all, err
}

func scan() (listing, error) {
	host, err := Host()
	if err != nil {
		return listing{}, err
	}
	l := listing{all: []Handle{host}, at: map[uint64]int{host.Inode: 0}}
	for _, dir := range dirs {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if path := filepath.Join(dir, e.Name()); isNSFS(path) {
				l.add(Handle{Name: e.Name(), path: path})
			}
		}
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return l, fmt.Errorf("list processes: %w", err)
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			l.add(Handle{PID: pid, path: "/proc/" + e.Name() + "/ns/net"})
		}
	}
	slices.SortFunc(l.all[1:], func(a, b Handle) int { return strings.Compare(a.Name, b.Name) })
	return l, nil
}

// listing has each namespace once.
type listing struct {
	all []Handle
	at  map[uint64]int // by inode
	// hidden are the processes whose namespace we cannot look at.
	hidden []int
}

// add adds a namespace, or what h knows about one that is already there: another name, a
// process.
func (l *listing) add(h Handle) {
	var st unix.Stat_t
	switch err := unix.Stat(h.path, &st); {
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		l.hidden = append(l.hidden, h.PID)
		return
	case err != nil:
		return
	}
	h.Inode = st.Ino
	i, known := l.at[h.Inode]
	switch {
	case known && i == 0: // ours has one name, and needs no process
	case known && h.Name != "" && !l.all[i].Named(h.Name):
		l.all[i].Others = append(l.all[i].Others, h.Name)
	case known && l.all[i].PID == 0:
		l.all[i].PID = h.PID
	case !known:
		if h.Name == "" {
			h.Name = nameless(h.Inode)
		}
		l.at[h.Inode] = len(l.all)
		l.all = append(l.all, h)
	}
}

// unseen counts the namespaces of hidden processes that are not listed. /proc/PID/net shows
// to everybody what is in the namespace of a process, and each namespace has files of its
// own there.
func (l *listing) unseen() int {
	if len(l.hidden) == 0 {
		return 0
	}
	files := map[uint64]bool{} // by inode
	for i := range l.all {
		process := "thread-self"
		if i > 0 {
			process = strconv.Itoa(l.all[i].PID)
		}
		if inode, err := ownFile(process); err == nil {
			files[inode] = true
		}
	}
	listed := len(files)
	for _, pid := range l.hidden {
		// One that has ended is in no namespace.
		inode, err := ownFile(strconv.Itoa(pid))
		if err == nil || errors.Is(err, fs.ErrPermission) {
			files[inode] = true // 0 where nothing can be known
		}
	}
	return len(files) - listed
}

// ownFile returns the inode of a file that only the namespace of a process has.
func ownFile(process string) (uint64, error) {
	var st unix.Stat_t
	err := unix.Stat("/proc/"+process+"/net/dev", &st)
	return st.Ino, err //nolint:wrapcheck // only asked whether there is one
}

// nameless returns the name of a namespace without one.
func nameless(inode uint64) string { return fmt.Sprintf("net:[%d]", inode) }

// nsfsMagic is NSFS_MAGIC (include/uapi/linux/magic.h). A file under /run/netns
// is an empty regular file until a namespace is mounted on it.
const nsfsMagic = 0x6e736673

func isNSFS(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == nsfsMagic
}
