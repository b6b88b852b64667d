package socklab

import (
	"bytes"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// EnvLeaks is how long LeakCheck waits for what is about to end, such as 1s, where that is
// not for long: in a test that leaks.
const EnvLeaks = "SOCKLAB_LEAKS"

func leakLimit() time.Duration {
	if limit, err := time.ParseDuration(os.Getenv(EnvLeaks)); err == nil {
		return limit
	}
	return waitLimit
}

// LeakCheck fails the test if it leaves descriptors or goroutines behind. Call it first:
// cleanups that t.Cleanup registers later run before the check. It is not for parallel
// tests.
func LeakCheck(t testing.TB) {
	t.Helper()
	startPoller()
	fds, routines := openFDs(), goroutines()
	t.Cleanup(func() {
		var newFDs, newRoutines map[string]string
		settled := poll(func() bool {
			newFDs, newRoutines = openFDs(), goroutines()
			maps.DeleteFunc(newFDs, func(fd, target string) bool { return fds[fd] == target })
			maps.DeleteFunc(newRoutines, func(id, _ string) bool { _, was := routines[id]; return was })
			return len(newFDs)+len(newRoutines) == 0
		}, leakLimit())
		if settled {
			return
		}
		for fd, target := range newFDs {
			t.Errorf("descriptor %s leaked: %s", fd, target)
		}
		for _, stack := range newRoutines {
			t.Errorf("goroutine leaked:\n%s", stack)
		}
	})
}

// startPoller makes the runtime open its own descriptors now.
func startPoller() {
	if r, w, err := os.Pipe(); err == nil {
		_ = r.Close()
		_ = w.Close()
	}
}

// openFDs maps the open descriptors of this process to what they are.
func openFDs() map[string]string {
	links, _ := filepath.Glob("/proc/self/fd/*")
	open := make(map[string]string, len(links))
	for _, l := range links {
		if target, err := os.Readlink(l); err == nil {
			open[filepath.Base(l)] = target
		}
	}
	return open
}

// goroutines maps the ids of all goroutines to their stacks.
func goroutines() map[string]string {
	buf := make([]byte, 1<<20)
	buf = buf[:runtime.Stack(buf, true)]
	all := make(map[string]string)
	for stack := range bytes.SplitSeq(buf, []byte("\n\n")) {
		if words := strings.Fields(string(stack)); len(words) > 1 && words[0] == "goroutine" {
			all[words[1]] = string(stack)
		}
	}
	return all
}
