package watch

import (
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sockwarden/engine/pause"
	"sockwarden/engine/world"
)

// The log tells a pause that was over from one that somebody ended.
func TestEndOfPause(t *testing.T) {
	for want, ends := range map[string]func(path string){
		"the pause is over": func(string) { time.Sleep(time.Hour) },
		"resumed": func(path string) {
			if _, err := pause.Resume(path); err != nil {
				t.Error(err)
			}
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			var j journal
			path := filepath.Join(t.TempDir(), "pause.json")
			n := newNotices(&Parts{World: &world.World{Clock: world.SystemClock()}, Log: j.logger(), PauseFiles: []string{path}})
			if err := (&pause.Pause{Since: time.Now(), Until: time.Now().Add(time.Hour), By: "anna"}).Write(path); err != nil {
				t.Fatal(err)
			}
			n.pause()
			ends(path)
			n.pause()
			n.pause()
			text := strings.Join(j.lines(""), "\n")
			if strings.Count(text, want) != 1 || strings.Count(text, "paused, observing only") != 1 || len(j.lines("")) != 2 {
				t.Errorf("not once %q:\n%s", want, text)
			}
		})
	}
}
