package rules

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"sockwarden/collectors/trust"
)

// open opens a file that was found trustworthy.
func (l *loader) open(path string) (*trust.File, error) {
	f, err := l.trust.Open(path)
	switch {
	case errors.Is(err, trust.ErrNotRegular):
		return nil, err
	case err != nil:
		l.inputs.noteDir(filepath.Dir(path))
		return nil, unreadable(err)
	}
	if err := f.Trusted(); l.opts.Trust && err != nil {
		f.Close()
		return nil, fmt.Errorf("%s: %w", l.opts.who(), err)
	}
	return f, nil
}

// read returns the text of a file.
func (l *loader) read(path string) (string, error) {
	f, err := l.open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := f.ReadAll(maxFile + 1)
	l.inputs.note(path, f.FD()) // only now: what was written meanwhile shows
	if err != nil {
		return "", fmt.Errorf("cannot be read: %w", err)
	}
	return textOf(b)
}

// textOf checks what was read of a rules file.
func textOf(b []byte) (string, error) {
	switch {
	case len(b) > maxFile:
		return "", fmt.Errorf("is larger than %d bytes", maxFile)
	case !utf8.Valid(b):
		return "", errors.New("is not UTF-8 text: save it as UTF-8")
	}
	return strings.TrimPrefix(string(b), "\ufeff"), nil
}
