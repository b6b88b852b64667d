package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// Pause says that live runs and watchers only observe meanwhile.
type Pause struct {
	Since time.Time `json:"since"`
	Until time.Time `json:"until,omitzero"` // zero: until it is resumed
	By    string    `json:"by"`
}

// String says until when and by whom, as reports and logs do.
func (p *Pause) String() string {
	until := "until resumed"
	if !p.Until.IsZero() {
		until = "until " + p.Until.Format(time.TimeOnly)
	}
	if p.By == "" {
		return until
	}
	return until + " by " + p.By
}

// PauseFile is where the switch is kept: beside the state file of the user.
func PauseFile() string {
	state := DefaultStateFile()
	if state == "" {
		return ""
	}
	return filepath.Join(filepath.Dir(state), "pause.json")
}

// Write throws the switch: it replaces the file at once.
func (p *Pause) Write(path string) error {
	b, err := json.Marshal(p)
	if err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("pause: %w", err)
	}
	return replaceFile(path, append(b, '\n'))
}

// Resume throws the switch back; it reports whether there was a pause.
func Resume(path string) (bool, error) {
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("resume: %w", err)
	}
	return true, nil
}

// ReadPause returns the pause that is in force now, nil for none. A file that
// cannot be understood pauses, too: whoever put it there wanted that.
func ReadPause(path string, now time.Time) *Pause {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	unclear := &Pause{By: "a file that cannot be read: " + path}
	if err != nil {
		return unclear
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, 4<<10))
	var p Pause
	if err != nil || json.Unmarshal(b, &p) != nil {
		return unclear
	}
	if !p.Until.IsZero() && !now.Before(p.Until) {
		return nil
	}
	return &p
}

// pauseAll spares everything while a live engine is paused.
func (e *Engine) pauseAll(c *cycle) {
	if !e.opts.Live {
		return
	}
	p := ReadPause(e.opts.PauseFile, time.Now())
	if p == nil {
		return
	}
	for _, f := range c.report.Findings {
		if f.Decision == DecideAct && !e.harmless(f.Rule) {
			f.Decision, f.Reason = DecidePaused, "paused "+p.String()
		}
	}
}

// pauseOf looks at the switch immediately before an effect of the ladder: nil for
// none that is in force for it.
func (e *Engine) pauseOf(l *ladder) *Pause {
	if plugin, err := e.opts.Actions.Get(l.action()); err == nil && plugin.Harmless {
		return nil
	}
	return ReadPause(e.opts.PauseFile, time.Now())
}

// endPaused ends a ladder that a pause has stopped.
func (e *Engine) endPaused(p *Pause, l *ladder) {
	for _, f := range l.findings {
		f.Decision, f.Reason = DecidePaused, "paused "+p.String()
		e.audit.decision("live", l.program.Generation, f)
		if e.audited != nil {
			e.audited[findingKey{f.Rule.Name, collectors.KeyOf(&f.Socket)}] = f.Decision
		}
	}
	l.done = true
}
