package doctor

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/engine/memory"
	"sockwarden/engine/pause"
	"sockwarden/engine/silence"
	"sockwarden/rules"
)

// stateFile checks whether a live run could keep ages and cool-downs.
func stateFile(path string) Check {
	c := Check{Name: "state file", Level: OK, Detail: path + " can be written"}
	if path == "" {
		c.Level, c.Detail = Warn, "none: ages and cool-downs are not kept between runs"
		c.Cure = "name one: --state-file"
		return c
	}
	err := memory.CheckState(path)
	switch {
	case err == nil:
	case errors.Is(err, memory.ErrLocked):
		c.Level, c.Detail, c.Cure = Warn, "in use: "+err.Error(), "none, if that is the watcher"
	case errors.Is(err, memory.ErrNoBootID):
		c.Level, c.Detail = Fail, "cannot tell which boot this is: /proc/sys is hidden"
		c.Cure = "leave out ProcSubset=pid (subset=pid), or --state-file none"
	default:
		c.Level, c.Detail, c.Cure = Fail, err.Error(), "make its directory writable, or name another: --state-file"
	}
	return c
}

// noPause says whether a pause is in force, during which a live run only observes.
func noPause(files []string) Check {
	if p := pause.Read(time.Now(), files...); p != nil {
		return Check{Name: "pause", Level: Fail, Detail: "paused " + p.String() + ": live runs only observe", Cure: "sockwarden resume"}
	}
	return Check{Name: "pause", Level: OK, Detail: "none is in force"}
}

// silences says which silences are in force, and whether their files can be read: a live
// run does nothing otherwise.
func silences(files []string) Check {
	in := silence.NewStore(files...).At(time.Now())
	c := Check{Name: "silences", Level: OK, Detail: "none is in force"}
	var texts []string
	for _, s := range in {
		if s.Broken() != "" {
			return Check{Name: c.Name, Level: Fail, Detail: s.Broken() + ": live runs do nothing", Cure: "remove " + s.File}
		}
		texts = append(texts, s.String()+" ("+s.About()+")")
	}
	if len(in) > 0 {
		c.Level, c.Detail, c.Cure = Warn, strings.Join(texts, "; "), "sockwarden silence remove ends one"
	}
	return c
}

// watching checks whether the kernel would report changes to rules files.
func watching() Check {
	c := Check{Name: "inotify", Level: OK, Detail: "watch hears at once when rules change"}
	w := rules.NewWatcher()
	err := w.Set([]string{"/"})
	_ = w.Close()
	if err == nil {
		return c
	}
	c.Level, c.Detail = Warn, fmt.Sprintf("watch is not told when rules change (%v)", err)
	c.Cure = "end programs that watch files"
	switch {
	case errors.Is(err, unix.EMFILE):
		c.Cure = "raise the limit: sysctl fs.inotify.max_user_instances=1024"
	case errors.Is(err, unix.ENOSPC):
		c.Cure = "raise the limit: sysctl fs.inotify.max_user_watches=100000"
	}
	return c
}
