package rules

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"

	"github.com/fsnotify/fsnotify"

	"sockwarden/collectors/trust"
)

// Watcher tells when something happens in the directories of rules files.
// Directories and not files are watched: editors, sed -i and Kubernetes replace
// files, and a watch on a replaced file is dead. What happened does not matter;
// the reader loads again and compares generations.
type Watcher struct {
	fs      *fsnotify.Watcher
	watched map[string]bool
}

// NewWatcher returns a watcher that watches nothing yet. It uses one inotify
// instance until it is closed.
func NewWatcher() (*Watcher, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch rules: %w", err)
	}
	return &Watcher{fs: w, watched: map[string]bool{}}, nil
}

// Close ends the watch.
func (w *Watcher) Close() error {
	if err := w.fs.Close(); err != nil {
		return fmt.Errorf("watch rules: %w", err)
	}
	return nil
}

// Events yields a value for everything that happens in the directories.
func (w *Watcher) Events() <-chan fsnotify.Event { return w.fs.Events }

// Errors yields what went wrong with the watch, such as an overflow: the reader
// then looks for itself.
func (w *Watcher) Errors() <-chan error { return w.fs.Errors }

// Set makes the directories of the given files and directories the watched
// ones. It is called again after every event and on a slow timer: a directory
// that was removed and made again has lost its watch, and a missing one is
// awaited in the nearest directory above it that exists.
func (w *Watcher) Set(paths []string) error {
	want := dirsOf(paths)
	err := w.watch(want)
	// What was made or moved between the look and the watch would go unseen.
	for range 10 {
		now := dirsOf(paths)
		if maps.Equal(now, want) {
			break
		}
		want, err = now, w.watch(now)
	}
	return err
}

// dirsOf returns the directories in which something can happen to the paths.
func dirsOf(paths []string) map[string]bool {
	dirs := map[string]bool{}
	for _, p := range paths {
		for _, dir := range trust.Places(p) {
			if dir != "" {
				dirs[dir] = true
			}
		}
	}
	return dirs
}

func (w *Watcher) watch(want map[string]bool) error {
	alive := map[string]bool{}
	for _, dir := range w.fs.WatchList() {
		alive[dir] = true
	}
	for dir := range w.watched {
		if !want[dir] && alive[dir] {
			_ = w.fs.Remove(dir) // it may be gone
		}
	}
	w.watched = want
	var errs []error
	for dir := range want {
		// Adding a watched directory again is how a replaced one is found.
		if err := w.fs.Add(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("watch %s: %w", dir, err))
		}
	}
	return errors.Join(errs...)
}
