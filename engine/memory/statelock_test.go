package memory

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// If the lock is held, the error names the holder and advises running only one of the
// two: with a state file of its own the second would do everything again.
func TestLockedMessage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	held, err := (&StateFile{Path: path}).takeLock()
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if _, err := held.WriteString("4711\n"); err != nil {
		t.Fatal(err)
	}
	_, err = (&StateFile{Path: path}).takeLock()
	if !errors.Is(err, ErrLocked) {
		t.Fatalf("got %v", err)
	}
	text := err.Error()
	if want := "another live run is active: process 4711 holds " + path + ".lock; stop it, or wait for its end"; !strings.HasPrefix(text, want) {
		t.Errorf("%q, want %q", text, want)
	}
	if strings.Contains(text, "--state-file") {
		t.Errorf("recommends another state file: %q", text)
	}
}
