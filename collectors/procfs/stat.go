package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
)

// clockTicks is USER_HZ, the unit of start times in /proc: 100 on every Linux
// that Go runs on.
const clockTicks = 100

// stat is what sockwarden reads of /proc/PID/stat.
type stat struct {
	comm      string
	state     byte // R, S, D, Z, ...
	parent    int
	threads   int
	startTime uint64 // clock ticks since boot
	kernel    bool   // a kernel thread
}

const pfKthread = 0x00200000 // PF_KTHREAD (include/linux/sched.h)

// parseStat reads the text of /proc/PID/stat. The name is in parentheses and can itself
// contain parentheses, spaces and newlines: the last ")" ends it.
func parseStat(b []byte) (stat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return stat{}, errors.New("stat: no process name in parentheses")
	}
	f := strings.Fields(string(b[end+1:]))
	// f[0] is field 3 (state); see proc_pid_stat(5).
	if len(f) < 20 {
		return stat{}, fmt.Errorf("stat: %d fields behind the name, want at least 20", len(f))
	}
	parent, err0 := strconv.Atoi(f[1])
	flags, err1 := strconv.ParseUint(f[6], 10, 64)
	threads, err2 := strconv.Atoi(f[17])
	start, err3 := strconv.ParseUint(f[19], 10, 64)
	if err := errors.Join(err0, err1, err2, err3); err != nil {
		return stat{}, fmt.Errorf("stat: %w", err)
	}
	return stat{comm: string(b[open+1 : end]), state: f[0][0], parent: parent, threads: threads, startTime: start, kernel: flags&pfKthread != 0}, nil
}

// ended reports whether the process only waits for its parent. A process whose first
// thread has ended shows as a zombie while other threads run.
func (s *stat) ended() bool { return s.state == 'X' || (s.state == 'Z' && s.threads < 2) }

// holdsNothing reports whether the process cannot have a descriptor. Permissions then do
// not matter: for the kernel an ended process belongs to root.
func (s *stat) holdsNothing() bool { return s.ended() || s.kernel }

// fullName restores a name that the kernel cut at 15 bytes, from the arguments or the
// executable.
func fullName(comm string, cmdline []byte, exe string) string {
	if len(comm) < 15 {
		return comm
	}
	arg0, _, _ := bytes.Cut(cmdline, []byte{0})
	for _, candidate := range []string{path.Base(string(arg0)), path.Base(exe)} {
		if strings.HasPrefix(candidate, comm) {
			return candidate
		}
	}
	return comm
}

// parseLimit returns the soft limit of open files in the text of /proc/PID/limits; false
// if it is unlimited or missing.
func parseLimit(b []byte) (uint64, bool) {
	for line := range bytes.Lines(b) {
		rest, ok := bytes.CutPrefix(line, []byte("Max open files"))
		if !ok {
			continue
		}
		f := bytes.Fields(rest)
		if len(f) == 0 {
			return 0, false
		}
		n, err := strconv.ParseUint(string(f[0]), 10, 64)
		return n, err == nil && n < math.MaxInt64
	}
	return 0, false
}
