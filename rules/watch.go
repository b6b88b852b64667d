package rules

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"

	"sockwarden/collectors/trust"
)

// ErrNotWatched says that the kernel has no inotify instance or watch left. Changes there
// go unreported: the caller must look from time to time.
var ErrNotWatched = errors.New("not watched")

// Watcher reports when something happens in the directories of rules files. It watches
// directories, not files: editors, sed -i and Kubernetes replace files, and a watch on a
// replaced file is dead. What happened does not matter; the reader loads again and
// compares generations.
type Watcher struct {
	fs      *fsnotify.Watcher // nil while there is no inotify instance for it
	watched map[string]dirID
	begun   bool // an instance was asked for
	renewed bool
}

// dirID tells a directory from another that has taken its name. The kernel has one watch
// for each, whatever it is called, and fsnotify (1.10) panics where two of its names
// share a watch: the watcher never lets that happen.
type dirID struct{ dev, inode uint64 }

// NewWatcher returns a watcher that watches nothing yet. Set gives it an inotify
// instance, which it uses until it is closed.
func NewWatcher() *Watcher { return &Watcher{watched: map[string]dirID{}} }

// start takes an inotify instance.
func start() (*fsnotify.Watcher, error) {
	w, err := fsnotify.NewWatcher()
	switch {
	case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE):
		return nil, fmt.Errorf("%w: no inotify instance is left (%w): raise fs.inotify.max_user_instances", ErrNotWatched, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", ErrNotWatched, err)
	}
	return w, nil
}

// Close ends the watch.
func (w *Watcher) Close() error {
	if w.fs == nil {
		return nil
	}
	if err := w.fs.Close(); err != nil {
		return fmt.Errorf("watch rules: %w", err)
	}
	return nil
}

// Events yields a value for everything that happens in the directories. It is nil
// while nothing is watched.
func (w *Watcher) Events() <-chan fsnotify.Event {
	if w == nil || w.fs == nil {
		return nil
	}
	return w.fs.Events
}

// Errors yields what went wrong with the watch, such as an overflow: the reader
// then looks for itself. It is nil while nothing is watched.
func (w *Watcher) Errors() <-chan error {
	if w == nil || w.fs == nil {
		return nil
	}
	return w.fs.Errors
}

// Renewed reports whether directories have been replaced since its last call: events in
// them may have gone unseen meanwhile.
func (w *Watcher) Renewed() bool {
	if w == nil {
		return false
	}
	renewed := w.renewed
	w.renewed = false
	return renewed
}

// Set replaces the watched directories by those of the given files and directories. Call
// it again after every event and on a slow timer: a directory that was removed and made
// again has lost its watch, and for a missing one it watches the nearest existing
// directory above. The error names everything that is not watched; whatever can be
// watched is.
func (w *Watcher) Set(paths []string) error {
	if w == nil {
		return nil
	}
	want := dirsOf(paths)
	err := w.watch(want)
	// Anything made or moved between the look and the watch would go unseen.
	for range 10 {
		now := dirsOf(paths)
		if maps.Equal(now, want) {
			break
		}
		want, err = now, w.watch(now)
	}
	return err
}

// dirsOf returns the directories where something can happen to the paths, each by one of
// its names.
func dirsOf(paths []string) map[string]dirID {
	names := map[string]bool{}
	for _, p := range paths {
		for _, dir := range trust.Places(p) {
			names[dir] = dir != ""
		}
	}
	dirs, seen := map[string]dirID{}, map[dirID]bool{}
	for _, name := range sortedKeys(names) {
		var st unix.Stat_t
		if name == "" || unix.Stat(name, &st) != nil {
			continue // gone meanwhile
		}
		if id := (dirID{st.Dev, st.Ino}); !seen[id] {
			seen[id], dirs[name] = true, id
		}
	}
	return dirs
}

// watch watches the given directories. If everything watched so far is still wanted, it
// adds the others; otherwise a new watch replaces the old one.
func (w *Watcher) watch(want map[string]dirID) error {
	if w.fs == nil {
		return w.renew(want)
	}
	alive := map[string]bool{}
	for _, dir := range w.fs.WatchList() {
		alive[dir] = true
	}
	known := map[dirID]bool{}
	for dir, id := range w.watched {
		if want[dir] != id || !alive[dir] {
			return w.renew(want)
		}
		known[id] = true
	}
	var errs []error
	for dir, id := range want {
		if !known[id] {
			errs = append(errs, w.add(dir, id))
		}
	}
	return errors.Join(errs...)
}

func (w *Watcher) add(dir string, id dirID) error {
	err := w.fs.Add(dir)
	if err == nil {
		w.watched[dir] = id
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the next look sees it
	}
	if errors.Is(err, unix.ENOSPC) {
		return fmt.Errorf("%s is %w: no inotify watch is left (%w): raise fs.inotify.max_user_watches", dir, ErrNotWatched, err)
	}
	if err != nil {
		return fmt.Errorf("%s is %w: %w", dir, ErrNotWatched, err)
	}
	return nil
}

func (w *Watcher) renew(want map[string]dirID) error {
	was, first := w.fs, !w.begun
	w.begun = true
	fresh, err := start()
	if err != nil && was != nil { // the last one may be ours
		_ = was.Close()
		was = nil
		fresh, err = start()
	}
	w.fs, w.watched = fresh, map[string]dirID{}
	if err != nil {
		return err
	}
	w.renewed = !first
	var errs []error
	for dir, id := range want {
		errs = append(errs, w.add(dir, id))
	}
	if was != nil {
		_ = was.Close() // only now: nothing is unwatched in between
	}
	return errors.Join(errs...)
}
