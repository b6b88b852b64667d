package rules

import (
	"errors"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// stamp is when something that was read last changed.
type stamp struct {
	path    string
	changed time.Time // ctime: it cannot be set back
	inode   uint64
}

// note notes whether another process has an opened file open for writing, and when
// it last changed, and returns it.
func (in *inputs) note(path string, fd int) (now fileState, writing bool) {
	writing = beingWritten(fd)
	if writing && !slices.Contains(in.writing, path) {
		in.writing = append(in.writing, path)
	}
	var st unix.Stat_t
	if unix.Fstat(fd, &st) == nil {
		in.stamps = append(in.stamps, stampOf(path, &st))
	}
	return stateOf(&st), writing
}

// noteDir notes when something last changed in a directory, or in the nearest existing
// one above it: a missing file may only be away for a moment.
func (in *inputs) noteDir(dir string) {
	var st unix.Stat_t
	for unix.Stat(dir, &st) != nil && filepath.Dir(dir) != dir {
		dir = filepath.Dir(dir)
	}
	if unix.Stat(dir, &st) == nil {
		in.stamps = append(in.stamps, stampOf(filepath.Clean(dir), &st))
	}
}

func stampOf(path string, st *unix.Stat_t) stamp {
	return stamp{path, time.Unix(st.Ctim.Unix()), st.Ino}
}

// beingWritten reports whether another process has the file open for writing, or mapped
// for writing. The kernel then refuses a lease for reading; a granted lease is given back
// at once, as it would keep a writer waiting. Where the kernel grants none (another's
// file without CAP_LEASE, some file systems) nothing is known.
func beingWritten(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	if err != nil {
		return errors.Is(err, unix.EAGAIN)
	}
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
	return false
}
