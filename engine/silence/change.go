package silence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/engine/memory"
)

// ErrUnknown says that there is no silence with a number.
var ErrUnknown = errors.New("there is no such silence")

const (
	// maxText bounds the condition of a silence, and its comment, in bytes.
	maxText, maxComment = 16 << 10, 500
	// maxRemoved is of how many removed silences a file says who has removed them.
	maxRemoved = 100
	// lockPatience is how long we wait for somebody else who changes the file.
	lockPatience = 2 * time.Second
	// longest is the longest silence: longer ones are changes of the rules.
	longest = 366 * 24 * time.Hour
)

// Check says what is wrong with a silence that somebody wants, nil if nothing is. It
// makes its condition.
func (s *Silence) Check() error {
	length := s.EndsAt.Sub(s.StartsAt)
	switch {
	case len(s.Rules) == 0 && s.Expr == "" && s.Owner == "":
		return errors.New("nothing is selected: a silence of everything is a pause (sockwarden pause)")
	case slices.ContainsFunc(s.Rules, func(name string) bool { return strings.TrimSpace(name) == "" }):
		return errors.New("a rule has no name")
	case length <= 0:
		return errors.New("it has no time: say for how long, as 2h")
	case length > longest:
		return fmt.Errorf("%s is too long for a silence: at most a year", length)
	case len(s.Expr)+len(s.Owner)+len(s.Selectors) > maxText:
		return fmt.Errorf("its condition has more than %d bytes", maxText)
	case len(s.Comment) > maxComment:
		return fmt.Errorf("its comment has more than %d bytes", maxComment)
	}
	if err := s.compile(); err != nil {
		return err
	}
	if len(s.Rules) == 0 && s.Owner == "" && s.when.Constant {
		return errors.New("its condition selects everything or nothing, whatever the socket; a silence of everything is a pause (sockwarden pause)")
	}
	return nil
}

// Add writes a silence to a file and gives it a number that no silence of these files has.
// From then on no effect begins that it spares.
func Add(ctx context.Context, path string, files []string, s *Silence) error {
	return change(ctx, path, func(d *doc) error {
		kept := d.Silences[:0]
		for _, one := range d.Silences {
			if one.EndsAt.After(s.StartsAt) {
				kept = append(kept, one)
			}
		}
		if d.Silences = kept; len(kept) >= maxSilences {
			return fmt.Errorf("there are %d silences already", len(kept))
		}
		for _, other := range NewStore(files...).all() {
			d.Last = max(d.Last, other.ID)
		}
		d.Last++
		s.ID, s.File = d.Last, path
		d.Silences = append(d.Silences, s)
		return nil
	})
}

// all returns the silences of all files, ended ones too.
func (s *Store) all() (all List) {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, path := range s.files {
		all = append(all, s.read(path)...)
	}
	return all
}

// Remove ends the silence of that number. The file keeps who wanted that, for the log of a
// watcher. The error is ErrUnknown if none is in force.
func Remove(ctx context.Context, files []string, id int, by string, now time.Time) error {
	in := NewStore(files...).At(now)
	found := in.Find(id)
	if found == nil || found.ID == 0 {
		return ErrUnknown
	}
	return change(ctx, found.File, func(d *doc) error {
		n := len(d.Silences)
		d.Silences = slices.DeleteFunc(d.Silences, func(s *Silence) bool { return s.ID == id })
		if len(d.Silences) == n {
			return ErrUnknown
		}
		d.Removed = append(d.Removed, removal{id, by, now})
		d.Removed = d.Removed[max(0, len(d.Removed)-maxRemoved):]
		return nil
	})
}

// change reads a file, changes it, and puts it in place at once, while nobody else does.
// What it cannot read it leaves alone.
func change(ctx context.Context, path string, f func(*doc) error) error {
	if err := memory.MakeDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("silences: %w", err)
	}
	lock, err := memory.LockWithin(ctx, path+".lock", lockPatience)
	if errors.Is(err, unix.EROFS) {
		return fmt.Errorf("silences: %w: the watcher cannot write there; cure: --control none, and StateDirectory=%s in its unit", err, filepath.Base(filepath.Dir(path)))
	}
	if err != nil {
		return fmt.Errorf("silences: %w", err)
	}
	defer func() { _ = lock.Close() }()
	d, err := load(path)
	if err != nil {
		return fmt.Errorf("silences: %s %w; remove it to go on", path, err)
	}
	if err := f(d); err != nil {
		return err
	}
	b, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return fmt.Errorf("silences: %w", err)
	}
	if len(b)+1 > maxFile {
		return fmt.Errorf("silences: %s would be larger than %d bytes: remove some, or use shorter conditions", path, maxFile) //nolint:err113 // for people
	}
	if err := memory.ReplaceFile(path, append(b, '\n'), 0o644); err != nil {
		return fmt.Errorf("silences: %w", err)
	}
	return nil
}

func load(path string) (*doc, error) {
	now, err := readFile(path, nil)
	if errors.Is(err, fs.ErrNotExist) {
		return &doc{Format: format}, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", err)
	}
	d, err := decode(b)
	if err == nil && len(d.Silences) != len(now.all) {
		err = errors.New("is changing")
	}
	return d, err
}
