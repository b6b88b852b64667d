package trust

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// foreignError says who else could change something. It is ErrForeign, whose words are
// for those who have nothing else to say.
type foreignError struct{ error }

// Is reports that it is ErrForeign.
func (foreignError) Is(target error) bool { return target == ErrForeign }

// trusted says who else could change what a walk found: an ErrForeign.
func (c *Checker) trusted(w *walk) error {
	if w.distrust == nil {
		w.judge(&w.end, false)
	}
	err := w.distrust
	if err == nil {
		err = c.mounts.trusted(w.mounts)
	}
	if err != nil {
		return foreignError{err}
	}
	return nil
}

// judge records what belongs to others or what they can write to. With sticky, a
// world-writable directory passes if it has the sticky bit: others cannot rename
// in it what is ours.
func (w *walk) judge(p *place, sticky bool) {
	if w.distrust == nil {
		w.distrust = mine(p, sticky)
	}
}

func mine(p *place, sticky bool) error {
	me, name := os.Geteuid(), quoted(p.path)
	own := fmt.Sprintf("chown %d:%d %s", me, os.Getegid(), name)
	link := p.st.Mode&unix.S_IFMT == unix.S_IFLNK
	isSticky := p.st.Mode&unix.S_ISVTX != 0 && p.st.Mode&unix.S_IFMT == unix.S_IFDIR
	switch {
	case !foreign(p.st.Uid) && (link || p.st.Mode&(unix.S_IWGRP|unix.S_IWOTH) == 0):
		return nil // the mode of a link is meaningless
	case foreign(p.st.Uid) && link:
		return fmt.Errorf("the link %s belongs to uid %d, who chose where it leads; cure: chown -h %d:%d %s", p.path, p.st.Uid, me, os.Getegid(), name)
	case foreign(p.st.Uid):
		if p.st.Mode&(unix.S_IWGRP|unix.S_IWOTH) != 0 {
			own += " && chmod go-w " + name
		}
		return fmt.Errorf("%s belongs to uid %d, who could change it (mode %#o); cure: %s%s", p.path, p.st.Uid, p.st.Mode&0o7777, own, orCopy)
	case isSticky && sticky:
		return nil
	case isSticky: // as /tmp, which must stay so
		return fmt.Errorf("others can put files into %s (mode %#o); cure: move the file to a directory that only you can write", p.path, p.st.Mode&0o7777)
	}
	return fmt.Errorf("others can write to %s (mode %#o); cure: %s && chmod go-w %s%s", p.path, p.st.Mode&0o7777, own, name, orCopy)
}

// orCopy is the advice where permissions cannot change, as on the volumes of a cluster.
const orCopy = ", or copy the file to a directory that only you can write"

// foreign says whether a user could be somebody other than root and us.
func foreign(uid uint32) bool { return uid != 0 && int(uid) != os.Geteuid() }

// shared says whether others can add files to a directory or remove them.
func shared(st *unix.Stat_t) bool {
	return foreign(st.Uid) || st.Mode&(unix.S_IWGRP|unix.S_IWOTH) != 0
}

// quoted is a path quoted for a shell.
func quoted(path string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("/._-+:@%,=", r)
	}
	if strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
