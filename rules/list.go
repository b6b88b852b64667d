package rules

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The limits of a set file.
const (
	maxListBytes   = 64 << 20
	maxListEntries = 2_000_000
)

// list is what a set file says. It is immutable: generations share it as long as its file
// says the same.
type list struct {
	path   string
	digest [sha256.Size]byte // of the text
	set    *Set              // nil if something is wrong
	// whole is the set without an unfinished last line: the rest of it may still come.
	whole    *Set
	entries  int
	problems problemList
}

// fileState changes whenever the content of a file does, or another file takes its place.
type fileState struct {
	dev, inode   uint64
	size         int64
	mtime, ctime unix.Timespec
}

func stateOf(st *unix.Stat_t) fileState {
	return fileState{st.Dev, st.Ino, st.Size, st.Mtim, st.Ctim}
}

// settled reports whether the state shows every change of the file since it was read. A
// second change within a tick of the file system's clock would not show.
func (s *fileState) settled(now time.Time) bool {
	return now.Sub(time.Unix(s.mtime.Unix())) >= Settle && now.Sub(time.Unix(s.ctime.Unix())) >= Settle
}

// Lists remembers the set files between two readings of the rules: an unchanged one is
// looked at but not read. The zero value is ready.
type Lists struct {
	mu    sync.Mutex
	files map[string]*knownList // by path
}

type knownList struct {
	list  *list
	state fileState
	// settled says that the same state means the same content.
	settled bool
	used    bool // since the last forget
}

func (l *Lists) get(path string) *knownList {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.files[path]
	if k != nil {
		k.used = true
	}
	return k
}

func (l *Lists) put(path string, k *knownList) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.files == nil {
		l.files = map[string]*knownList{}
	}
	k.used = true
	l.files[path] = k
}

// forget drops what nobody asked for since its last call.
func (l *Lists) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for path, k := range l.files {
		if !k.used {
			delete(l.files, path)
		}
		k.used = false
	}
}

// list returns what a set file says. It checks each time which file that is and whether
// it can be trusted, but reads the content only if that can have changed.
func (l *loader) list(path string) (*list, error) {
	f, err := l.open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if f.Stat.Size > maxListBytes {
		l.inputs.note(path, f.FD())
		return nil, fmt.Errorf("is larger than %d MiB, the limit for a list: divide it", maxListBytes>>20)
	}
	known, state := l.opts.Lists.get(path), stateOf(&f.Stat)
	if known != nil && known.settled && known.state == state {
		if now, writing := l.inputs.note(path, f.FD()); !writing && now == state {
			return known.list, nil
		}
	}
	var now *list
	if known != nil && known.state.size == state.size {
		if digest, err := digestOf(f.FD()); err == nil && digest == known.list.digest {
			now = known.list
		}
	}
	if now == nil {
		if now, err = readList(path, f.FD()); err != nil {
			l.inputs.note(path, f.FD())
			return nil, err
		}
	}
	after, writing := l.inputs.note(path, f.FD()) // only now: what was written meanwhile shows
	l.opts.Lists.put(path, &knownList{list: now, state: state, settled: after == state && !writing && state.settled(time.Now())})
	return now, nil
}

// listOf returns what a set file says. Wrong lines are reported at their places, and then
// there is no set.
func (l *loader) listOf(path string) (*Set, error) {
	known, ok := l.inputs.sets[path]
	switch {
	case ok:
	case l.grown != nil: // what was read once is only compiled again
		return nil, fs.ErrNotExist
	default:
		now, err := l.list(path)
		l.watched = append(l.watched, path)
		if now == nil {
			now = &list{path: path}
		}
		l.inputs.sets[path], known = now, now
		if err != nil {
			return nil, err
		}
	}
	if l.grown == nil {
		l.inputs.setOrder = append(l.inputs.setOrder, path)
	}
	if !l.told[path] {
		l.told[path] = true
		l.problems.addAll(&known.problems)
	}
	return known.set, nil
}
