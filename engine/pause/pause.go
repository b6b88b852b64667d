package pause

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/trust"
	"sockwarden/engine/memory"
)

// Pause makes live runs and watchers only observe.
type Pause struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until,omitzero"` // zero: until somebody resumes
	By    string    `json:"by"`
	// File is where the pause was found.
	File string `json:"-"`
}

// String says by whom and until when, for reports and logs.
func (p *Pause) String() string {
	if p.By == "" {
		return "until " + p.End()
	}
	return "by " + p.By + " until " + p.End()
}

// End says when it is over: a time, or "somebody resumes".
func (p *Pause) End() string {
	switch {
	case p.Until.IsZero():
		return "somebody resumes"
	case p.Until.Sub(p.Since) < 12*time.Hour:
		return p.Until.Format(time.TimeOnly)
	}
	return p.Until.Format(time.DateTime)
}

// Machine is the switch of the whole machine: only root can set it, and the live runs of
// every user obey it.
const Machine = "/run/sockwarden/pause.json"

// Kept is a copy of it where a reboot does not end it. It is written where its directory
// exists, as under the shipped unit, and the live runs of every user obey it as well.
const Kept = "/var/lib/sockwarden/pause.json"

// File is the switch that the user can set: root that of the machine, others their own
// beside their state file; "" if there is no place for it.
func File() string {
	if os.Geteuid() == 0 {
		return Machine
	}
	state := memory.DefaultStateFile()
	if state == "" {
		return ""
	}
	return filepath.Join(filepath.Dir(state), "pause.json")
}

// Files are the switches that this user's runs check.
func Files() []string {
	files := []string{Machine, Kept}
	if own := File(); own != "" && own != Machine {
		files = append(files, own)
	}
	return files
}

// Set sets the switch at a path, that of the machine also where a reboot does not end it.
// Once it is in force, the second error says why a reboot ends it all the same, nil if
// there is no place for it.
func (p *Pause) Set(path string) (err, ends error) {
	if err := p.Write(path); err != nil || path != Machine {
		return err, nil
	}
	if _, err := os.Stat(filepath.Dir(Kept)); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return nil, p.Write(Kept)
}

// Write sets the switch: it replaces the file at once. Every user can read it.
func (p *Pause) Write(path string) error {
	b, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	if err := memory.MakeDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	if err := memory.ReplaceFile(path, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	return nil
}

// Resume clears the switch at a path, that of the machine with its copy; it reports whether
// there was a pause.
func Resume(path string) (bool, error) {
	if path != Machine {
		return remove(path)
	}
	was, err := remove(Kept)
	if err != nil {
		return false, err
	}
	now, err := remove(Machine)
	return was || now, err
}

func remove(path string) (bool, error) {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if errors.Is(err, unix.EROFS) {
		return false, fmt.Errorf("resume: %w; cure: sockwarden resume outside of the unit, or StateDirectory=sockwarden in it", err)
	}
	if err != nil {
		return false, fmt.Errorf("resume: %w", err)
	}
	return true, nil
}

// Read returns the first of these pauses that is in force now, nil for none. A file that
// it cannot read or understand pauses, too: that is what whoever put it there wanted.
func Read(now time.Time, paths ...string) *Pause {
	for _, path := range paths {
		if p := readPause(now, path); p != nil {
			return p
		}
	}
	return nil
}

// maxPauseFile bounds what we read of a switch, in bytes.
const maxPauseFile = 4 << 10

func readPause(now time.Time, path string) *Pause {
	if path == "" {
		return nil
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	p := &Pause{}
	if err == nil {
		err = p.read(fd)
		_ = unix.Close(fd)
	}
	if err != nil {
		cure := ""
		if errors.Is(err, fs.ErrPermission) {
			cure = "; cure: chmod a+x " + filepath.Dir(path) + " && chmod a+r " + path
		}
		return &Pause{By: fmt.Sprintf("a file that cannot be read (%s: %v%s)", path, err, cure), File: path}
	}
	if !p.Until.IsZero() && !now.Before(p.Until) {
		return nil
	}
	p.File = path
	return p
}

func (p *Pause) read(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err //nolint:wrapcheck // by readPause
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return trust.ErrNotRegular
	}
	b, err := trust.ReadAll(fd, maxPauseFile)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, p); err != nil {
		return errors.New("it is not a pause")
	}
	// A user's text ends up in logs and terminals.
	p.By = strings.ToValidUTF8(p.By, "?")
	p.By = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '?'
	}, p.By)
	return nil
}
