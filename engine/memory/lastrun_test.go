package memory

import (
	"path/filepath"
	"testing"
	"time"

	"sockwarden/engine/world"
)

// What a live run has found is as old as that run, also if a dry one has written the file
// since.
func TestLastRunIsTheLiveOne(t *testing.T) {
	path, clock := filepath.Join(t.TempDir(), "state.json"), world.SystemClock()
	write := func(live bool, change func(*Memory)) {
		t.Helper()
		s, m, err := OpenState(path, live, clock.Mono)
		if err != nil {
			t.Fatal(err)
		}
		change(m)
		if err := s.Write(m); err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	const ago = 7
	write(true, func(m *Memory) { m.Tell("decided leak 1", "act", clock.Mono()-ago) })
	write(false, func(*Memory) {})
	r, err := ReadLastRun(path, clock)
	if err != nil || r == nil || r.Findings["leak"]["act"] != 1 {
		t.Fatalf("%+v, %v", r, err)
	}
	if was := clock.Now().Sub(r.Time); was < ago*time.Second {
		t.Errorf("the last run was %s ago, not %d s", was, ago)
	}
}
