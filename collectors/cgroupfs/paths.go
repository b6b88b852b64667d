package cgroupfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// rootID is the id of the root of the hierarchy. Every socket whose process is only in
// hierarchies of version 1 has it, too.
const rootID = 1

// Paths returns the known paths of control groups by their ids. It leaves out groups that
// were removed, the root if hierarchies of version 1 are mounted as well, and all groups if
// the unified hierarchy is not mounted. Root (CAP_DAC_READ_SEARCH) opens each group by its
// id; everybody else walks through all of them.
func Paths(ids []uint64) (map[uint64]string, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("mounts: %w", err)
	}
	m, ok := find(string(text))
	if !ok {
		return nil, nil
	}
	dir, err := unix.Open(m.at, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", m.at, err)
	}
	defer unix.Close(dir) //nolint:errcheck // nothing was written
	var is unix.Statfs_t
	if err := unix.Fstatfs(dir, &is); err != nil || is.Type != unix.CGROUP2_SUPER_MAGIC {
		return nil, nil // something is mounted over it
	}
	paths := map[uint64]string{}
	var walked map[uint64]string
	for _, id := range ids {
		if id == 0 || id == rootID && m.hybrid {
			continue
		}
		path, err := m.byHandle(dir, id)
		if err != nil && !errors.Is(err, unix.ESTALE) {
			if walked == nil {
				walked = m.walk()
			}
			path = walked[id]
		}
		if path != "" {
			paths[id] = path
		}
	}
	return paths, nil
}

// mount is where the unified hierarchy is.
type mount struct {
	at     string // the directory
	root   string // the part of the hierarchy that is mounted, from the root of the cgroup namespace
	hybrid bool   // there are hierarchies of version 1, too
}

// find reads /proc/self/mountinfo (proc(5)).
func find(text string) (m mount, ok bool) {
	hybrid := false
	for line := range strings.Lines(text) {
		before, after, _ := strings.Cut(line, " - ")
		is, kind := strings.Fields(before), strings.Fields(after)
		if len(is) < 5 || len(kind) == 0 {
			continue
		}
		switch root := unescape(is[3]); {
		case kind[0] == "cgroup":
			hybrid = true
		case kind[0] == "cgroup2" && !strings.HasPrefix(root, "/..") && (!ok || len(root) < len(m.root)):
			m, ok = mount{at: unescape(is[4]), root: root}, true
		}
	}
	m.hybrid = hybrid
	return m, ok
}

// unescape undoes what the kernel does to blanks in mountinfo (mangle in
// fs/proc_namespace.c).
func unescape(s string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(s)
}

// handleOfID is the type of a file handle that consists of the id alone (FILEID_KERNFS,
// Linux 5.5).
const handleOfID = 0xfe

// byHandle opens a control group by its id. The error is ESTALE if it was removed.
func (m *mount) byHandle(dir int, id uint64) (string, error) {
	fd, err := unix.OpenByHandleAt(dir, unix.NewFileHandle(handleOfID, binary.NativeEndian.AppendUint64(nil, id)), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC)
	if err != nil {
		return "", fmt.Errorf("open by id: %w", err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	at, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil {
		return "", fmt.Errorf("path of an id: %w", err)
	}
	path, ok := m.path(at)
	if !ok || !is(at, id) { // outside of what is mounted, or removed meanwhile
		return "", unix.ESTALE
	}
	return path, nil
}

// path turns the path of a directory into that of a control group.
func (m *mount) path(at string) (string, bool) {
	rest, ok := strings.CutPrefix(at, strings.TrimSuffix(m.at, "/"))
	if !ok || rest != "" && rest[0] != '/' {
		return "", false
	}
	return filepath.Join("/", m.root, rest), true
}

func is(at string, id uint64) bool {
	var st unix.Stat_t
	return unix.Stat(at, &st) == nil && st.Ino == id
}

// walk returns the paths of all control groups that we can read.
func (m *mount) walk() map[uint64]string {
	all := map[uint64]string{}
	_ = filepath.WalkDir(m.at, func(at string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil //nolint:nilerr // the others can be read
		}
		var st unix.Stat_t
		if path, ok := m.path(at); ok && unix.Stat(at, &st) == nil {
			all[st.Ino] = path
		}
		return nil
	})
	return all
}
