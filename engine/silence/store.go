package silence

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/trust"
	"sockwarden/engine/memory"
)

const (
	// format names the format of the file.
	format = "sockwarden-silences-1"
	// base is the name of the file in its directory.
	base = "silences.json"
	// packaged is where a packaged watcher keeps what outlives a reboot, machine where the
	// runs of every user look.
	packaged, machine = "/var/lib/sockwarden", "/run/sockwarden"
	// maxFile bounds what we read of a file, in bytes, and maxSilences how many there are.
	maxFile     = 1 << 20
	maxSilences = 1000
)

// doc is the file.
type doc struct {
	Format string `json:"format"`
	// Last is the highest number that was given, so that none is given twice.
	Last     int        `json:"last"`
	Silences []*Silence `json:"silences"`
	// Removed are the latest that somebody has ended before their time.
	Removed []removal `json:"removed,omitempty"`
}

// removal says who has ended a silence.
type removal struct {
	ID int       `json:"id"`
	By string    `json:"by"`
	At time.Time `json:"at"`
}

// Files are the files that a run with this state file obeys ("" for none): those of the
// machine, and the one beside the state file.
func Files(stateFile string) []string {
	files := []string{filepath.Join(machine, base)}
	if os.Geteuid() == 0 {
		files = append(files, filepath.Join(packaged, base))
	}
	for _, state := range []string{memory.DefaultStateFile(), stateFile} {
		if state == "" {
			continue
		}
		if beside := filepath.Join(filepath.Dir(state), base); !slices.Contains(files, beside) {
			files = append(files, beside)
		}
	}
	return files
}

// File is where a new silence goes, one of those that Files lists: beside a state file that
// the user named, for root where it outlives a reboot, if there is such a place and it can
// be written, which it cannot in a unit without StateDirectory; "" if there is no place.
func File(stateFile string) string {
	usual := memory.DefaultStateFile()
	switch {
	case stateFile != "" && stateFile != usual:
		return filepath.Join(filepath.Dir(stateFile), base)
	case os.Geteuid() == 0 && unix.Access(packaged, unix.W_OK|unix.X_OK) == nil:
		return filepath.Join(packaged, base)
	case usual == "":
		return ""
	}
	return filepath.Join(filepath.Dir(usual), base)
}

// Store reads silences from files, anew whenever they change. It is safe for concurrent
// use; a nil one has none.
type Store struct {
	files []string
	mu    sync.Mutex
	known map[string]*known
}

// known is a file as it was read last.
type known struct {
	id      identity
	all     List
	removed []removal
}

// identity tells a file from what it was before: those who write replace it.
type identity struct {
	dev, ino         uint64
	size             int64
	modified, change unix.Timespec
}

// NewStore makes a store of these files.
func NewStore(files ...string) *Store {
	if len(files) == 0 {
		return nil
	}
	return &Store{files: files, known: map[string]*known{}}
}

// At returns the silences in force at that time of the wall clock. A file that cannot be
// read spares everything: that is what whoever wrote it may have wanted.
func (s *Store) At(now time.Time) List {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var in List
	for _, path := range s.files {
		for _, one := range s.read(path) {
			if one.broken != "" || now.Before(one.EndsAt) {
				in = append(in, one)
			}
		}
	}
	return in
}

// read returns all silences of a file.
func (s *Store) read(path string) List {
	was := s.known[path]
	now, err := readFile(path, was)
	switch {
	case err == unix.ENOENT, errors.Is(err, unix.ENOTDIR): //nolint:errorlint // as above
		delete(s.known, path)
		return nil
	case err != nil:
		delete(s.known, path)
		return List{{File: path, broken: fmt.Sprintf("silences that cannot be read: %s %v", path, err)}}
	}
	s.known[path] = now
	return now.all
}

// RemovedBy says who has ended a silence before its time, "" if that is not known.
func (s *Store) RemovedBy(id int) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, file := range s.known {
		for _, r := range file.removed {
			if r.ID == id {
				return r.By
			}
		}
	}
	return ""
}

// readFile reads a file, or returns what is known of it if it is the same.
func readFile(path string, was *known) (*known, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	switch {
	case err == unix.ENOENT: //nolint:errorlint // as it is, and it is the usual case before each effect
		return nil, err //nolint:wrapcheck // read knows it
	case err != nil:
		return nil, fmt.Errorf("cannot be opened: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("cannot be examined: %w", err)
	}
	id := identity{st.Dev, st.Ino, st.Size, st.Mtim, st.Ctim}
	if was != nil && was.id == id {
		return was, nil
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return nil, trust.ErrNotRegular
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return nil, fmt.Errorf("belongs to uid %d", st.Uid)
	case st.Mode&(unix.S_IWGRP|unix.S_IWOTH) != 0:
		return nil, fmt.Errorf("can be written by others (mode %#o)", st.Mode&0o7777)
	case st.Size > maxFile:
		return nil, fmt.Errorf("has %d bytes, more than any that sockwarden writes", st.Size)
	}
	b, err := trust.ReadAll(fd, maxFile)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	d, err := decode(b)
	if err != nil {
		return nil, err
	}
	for _, one := range d.Silences {
		one.File = path
		one.CreatedBy, one.Comment, one.Selectors = plain(one.CreatedBy), plain(one.Comment), plain(one.Selectors)
		if err := one.compile(); err != nil {
			one.broken = fmt.Sprintf("silence %d, whose condition this version does not understand", one.ID)
			one.when = nil
		}
	}
	for i := range d.Removed {
		d.Removed[i].By = plain(d.Removed[i].By)
	}
	return &known{id, d.Silences, d.Removed}, nil
}

func decode(b []byte) (*doc, error) {
	var d doc
	if err := json.Unmarshal(b, &d); err != nil {
		return nil, fmt.Errorf("is broken: %w", err)
	}
	if d.Format != format {
		return nil, fmt.Errorf("was not written by this version (format %q)", d.Format)
	}
	for _, s := range d.Silences {
		if s == nil {
			return nil, errors.New("is broken: an empty silence")
		}
	}
	return &d, nil
}

// plain makes what a person wrote safe for logs and terminals.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, strings.ToValidUTF8(text, "?"))
}
