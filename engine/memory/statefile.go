package memory

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/host"
	"sockwarden/collectors/trust"
	"sockwarden/engine/world"
)

// MaxStateFile bounds what is read of a state file, in bytes: more than the
// largest that is ever written.
const MaxStateFile = 256 << 20

// ErrLocked says that another live run uses the state file.
var ErrLocked = errors.New("another live run is active")

// ErrNoBootID says that a state file could be from an earlier boot, because this boot is
// unknown.
var ErrNoBootID = errors.New("no boot id")

// StateFile keeps memory between runs. A live run holds the lock as long as it lasts. A dry
// run takes it only to write, and does not write while a live run holds it.
type StateFile struct {
	Path     string // "" to keep nothing
	BootID   string
	Clock    string         // see world.ClockIdentity
	Now      func() float64 // CLOCK_MONOTONIC, seconds
	ReadOnly bool
	lock     *os.File    // of a live run
	Known    fs.FileInfo // of the file last read or written, nil for none
	theirs   StateDoc    // what a dry run passes on unchanged
	Unread   error       // why a dry run does without the file, nil if it does not
}

// StateDoc is the file: JSON, of one boot. Times are seconds of CLOCK_MONOTONIC.
type StateDoc struct {
	Format    string              `json:"format"` // stateFormat
	BootID    string              `json:"boot_id"`
	Clock     string              `json:"clock,omitempty"` // not from programs before this field
	Seen      []SeenDoc           `json:"seen"`
	Holds     []HoldDoc           `json:"holds"`
	Cooldowns map[string]Cooldown `json:"cooldowns"`

	Acts        map[string][]float64       `json:"acts,omitempty"`
	Rules       map[string]RuleSince       `json:"rules,omitempty"`
	Tripped     map[string]int             `json:"tripped,omitempty"`
	Told        map[string]Told            `json:"told,omitempty"`
	Descriptors map[string]DescriptorCount `json:"descriptors,omitempty"`
	Results     Results                    `json:"results,omitempty"`
}

// SeenDoc is a socket that was seen in its state.
type SeenDoc struct {
	Key    collectors.Key `json:"key"`
	Since  float64        `json:"since"`
	Last   float64        `json:"last"`
	Missed int            `json:"missed,omitempty"`
	Mark   Mark           `json:"mark,omitzero"`
	Unsure float64        `json:"unsure,omitempty"`
	// Stalled, Moved and Sure are what is known of how long its peer has acknowledged nothing.
	Stalled float64 `json:"stalled,omitempty"`
	Moved   float64 `json:"moved,omitempty"`
	Sure    float64 `json:"sure,omitempty"`
}

// HoldDoc is a socket that a rule matches.
type HoldDoc struct {
	Rule        string         `json:"rule"`
	Fingerprint string         `json:"fingerprint"`
	Key         collectors.Key `json:"key"`
	Since       float64        `json:"since"`
	Last        float64        `json:"last"`
}

// StateFormat names the format of the file.
const StateFormat = "sockwarden-state-1"

// OpenState reads the state file into a memory. With an empty path nothing is kept. An
// unusable file stops a live run, which must know what earlier runs did; a dry run goes on
// without it and does not touch it.
func OpenState(path string, live bool, now func() float64) (*StateFile, *Memory, error) {
	m := NewMemory()
	if path == "" {
		return &StateFile{}, m, nil
	}
	boot, err := host.BootID()
	if err != nil {
		return nil, nil, fmt.Errorf("state file %s cannot be used: %w: /proc/sys is hidden (%w); leave out ProcSubset=pid or subset=pid, "+
			"or keep nothing between runs: --state-file none", path, ErrNoBootID, err)
	}
	s := &StateFile{Path: path, Now: now, BootID: boot}
	if s.Clock, err = world.ClockIdentity(); err != nil {
		return nil, nil, err
	}
	if live {
		if s.lock, err = s.waitForLock(); err != nil {
			return nil, nil, err
		}
	}
	err = s.Read(m)
	if err != nil && live {
		s.Close()
		return nil, nil, fmt.Errorf("%w; remove it to go on (lost are observed ages, the times of for and soak, cool-downs and counts of limits: "+
			"what was acted on lately can be at once again), or name another: --state-file", err)
	}
	if err != nil { // discard what came before the error
		m = NewMemory()
	}
	return s, m, nil
}

// Read fills m from the file, if there is one.
func (s *StateFile) Read(m *Memory) error {
	s.Unread = nil
	if err := s.readFile(m); err != nil {
		err = fmt.Errorf("state file %s: %w", s.Path, err)
		s.Known = nil
		s.Unread = fmt.Errorf("%w; this run does without it: ages that others have observed, and cool-downs, are not known; a live run stops until it is removed", err)
		return err
	}
	return nil
}

func (s *StateFile) readFile(m *Memory) error {
	dir, name, err := trust.Parent(s.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return unnamed(err)
	}
	defer dir.Close()
	fd, err := unix.Openat(dir.FD(), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, unix.ELOOP):
		return errors.New("is a symbolic link")
	case err != nil:
		return fmt.Errorf("open: %w", err)
	}
	f := os.NewFile(uintptr(fd), s.Path)
	defer func() { _ = f.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("examine: %w", err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return trust.ErrNotRegular
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("belongs to uid %d", st.Uid)
	case st.Mode&(unix.S_IWGRP|unix.S_IWOTH) != 0:
		return fmt.Errorf("can be written by others (mode %#o)", st.Mode&0o7777)
	case st.Size > MaxStateFile:
		return fmt.Errorf("has %d bytes, more than any that sockwarden writes", st.Size)
	}
	b, err := trust.ReadAll(fd, MaxStateFile)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if s.Known, err = f.Stat(); err != nil {
		return unnamed(err)
	}
	return s.Decode(b, m)
}

// unnamed drops the path from the error of a system call, because the caller names it.
func unnamed(err error) error {
	if pe, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", pe.Op, pe.Err)
	}
	return err
}

// Decode fills m from the bytes of a state file. It ignores a file of another boot, where
// times and cookies start anew, and one of another clock.
func (s *StateFile) Decode(b []byte, m *Memory) error {
	if len(b) == 0 {
		return errors.New("is empty")
	}
	var doc StateDoc
	if err := json.Unmarshal(b, &doc); err != nil {
		return fmt.Errorf("is broken: %w", err)
	}
	if doc.Format != StateFormat {
		return fmt.Errorf("was not written by this program (format %q)", doc.Format)
	}
	switch {
	case doc.BootID != s.BootID || doc.Clock != "" && doc.Clock != s.Clock:
		return nil
	case doc.Clock != s.Clock: // the clock is unknown: good enough to spare something
		doc.Seen, doc.Holds = nil, nil
	}
	s.theirs = doc
	s.theirs.Seen, s.theirs.Holds = nil, nil
	doc.fill(m, s.Now())
	return nil
}

// fill fills m with what a file says, as far as it can be true at that time.
func (doc *StateDoc) fill(m *Memory, now float64) {
	for _, d := range doc.Seen {
		if d.Since >= 0 && d.Since <= d.Last && d.Last <= now && len(m.Seen) < MaxRemembered {
			m.Seen[d.Key] = &sighting{First: d.Since, Since: d.Since, Last: d.Last, Missed: max(0, d.Missed), Mark: d.Mark, unsure: max(0, d.Unsure), stall: d.stall()}
		}
	}
	for _, d := range doc.Holds {
		if d.Since >= 0 && d.Since <= d.Last && d.Last <= now && len(m.Holds) < MaxRemembered {
			m.Holds[HoldKey{d.Rule, d.Fingerprint, d.Key}] = &sighting{Since: d.Since, Last: d.Last}
		}
	}
	for k, c := range doc.Cooldowns {
		if c.At >= 0 && c.At <= now && c.Until >= c.At {
			m.Cooldowns[k] = c
		}
	}
	for k, times := range doc.Acts {
		for _, at := range times {
			if at >= 0 && at <= now {
				m.Acted(k, at)
			}
		}
	}
	for k, r := range doc.Rules {
		if r.Since >= 0 && r.Since <= now {
			m.Rules[k] = r
		}
	}
	for k, n := range doc.Tripped {
		if n > 0 && n <= CalmCycles {
			m.Tripped[k] = n
		}
	}
	for k, t := range doc.Told {
		if t.Since >= 0 && t.Since <= t.Last && t.Last <= now && len(m.Told) < MaxRemembered {
			m.Told[k] = t
		}
	}
	for k, d := range doc.Descriptors {
		if d.At >= 0 && d.At <= d.Last && d.Last <= now && d.Count >= 0 {
			m.Descriptors[k] = d
		}
	}
	m.Results.take(doc.Results, now)
}

// Write saves the memory. A dry run, which holds no lock, first takes over what others have
// written since it read the file.
func (s *StateFile) Write(m *Memory) error {
	if s.Path == "" || s.ReadOnly {
		return nil
	}
	if s.lock != nil {
		return s.replace(m)
	}
	lock, err := s.takeLock()
	if err != nil {
		return nil
	}
	defer func() { _ = lock.Close() }()
	if now, err := os.Lstat(s.Path); err == nil && (s.Known == nil || !os.SameFile(now, s.Known) || !now.ModTime().Equal(s.Known.ModTime())) {
		theirs := NewMemory()
		if s.Read(theirs) != nil {
			return nil // Unread reports it
		}
		m.adopt(theirs)
	}
	s.Unread = nil
	return s.replace(m)
}

// replace puts a new file in place of the old one. Readers see one or the other, whole.
func (s *StateFile) replace(m *Memory) error {
	doc := m.Doc()
	doc.Format, doc.BootID, doc.Clock = StateFormat, s.BootID, s.Clock
	if s.lock == nil {
		// Only live runs may change what live runs decide by.
		doc.Cooldowns, doc.Acts, doc.Rules, doc.Tripped, doc.Told = s.theirs.Cooldowns, s.theirs.Acts, s.theirs.Rules, s.theirs.Tripped, s.theirs.Told
		doc.Results = s.theirs.Results
	}
	b, err := json.Marshal(&doc)
	if err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	if err := ReplaceFile(s.Path, b, 0o600); err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	if s.Known, err = os.Lstat(s.Path); err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	return nil
}

// tryWrite writes a file beside the state file and removes it.
func (s *StateFile) tryWrite() error {
	f, err := os.CreateTemp(filepath.Dir(s.Path), filepath.Base(s.Path)+".doctor")
	if err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	_, err = f.WriteString("x")
	if err := errors.Join(err, f.Close(), os.Remove(f.Name())); err != nil {
		return fmt.Errorf("state file: %w", err)
	}
	return nil
}

// Close gives up the lock.
func (s *StateFile) Close() {
	if s.lock != nil {
		_ = s.lock.Close()
		s.lock = nil
	}
}

// DefaultStateFile is the path of the state file unless the user names another: under /run
// for root, else in the user's runtime directory; "" if there is none.
func DefaultStateFile() string {
	if os.Geteuid() == 0 {
		return "/run/sockwarden/state.json"
	}
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		return filepath.Join(dir, "sockwarden/state.json")
	}
	return ""
}
