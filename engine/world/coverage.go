package world

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
)

// covered is what /proc turned out not to show.
type covered struct {
	sync.Mutex // several goroutines ask the guards
	procfs.Coverage
	at float64 // CLOCK_MONOTONIC, 0 for never
}

// Coverage returns what /proc does not show. Mounts hardly ever change, and if there are
// many, reading their table takes long.
func (k *kernelOwners) Coverage() procfs.Coverage {
	const recent = 1.0 // seconds
	k.cover.Lock()
	defer k.cover.Unlock()
	if now := Mono(); k.cover.at == 0 || now-k.cover.at > recent {
		k.cover.Coverage, k.cover.at = k.proc.Coverage(), now
	}
	return k.cover.Coverage
}

// Unexamined names the first of the processes that cannot be examined, says why, and what
// helps.
func (k *kernelOwners) Unexamined(all []procfs.Unreadable) string {
	first, pids := all[0], map[int]bool{}
	for _, u := range all {
		pids[u.PID] = true
		if u.PID < first.PID {
			first = u
		}
	}
	text := fmt.Sprintf("process %d", first.PID)
	if first.Comm != "" {
		text = fmt.Sprintf("%s[%d]", strings.Map(graphic, first.Comm), first.PID)
	}
	if n := len(pids) - 1; n > 0 {
		text += fmt.Sprintf(" and %d more", n)
	}
	text += fmt.Sprintf(" cannot be examined (%s)", errnoName(first.Err))
	switch {
	case !procfs.MayExamine():
		return text + ": " + AsRoot("CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH")
	case k.Coverage().Foreign:
		return text + ", and BPF cannot show processes of another PID namespace: run where /proc was mounted"
	}
	text += " even by root"
	switch err := k.err; {
	case errors.Is(err, collectors.ErrNotPermitted):
		return text + ": run with CAP_BPF and CAP_PERFMON, so that the kernel can tell (--owners=bpf)"
	case errors.Is(err, collectors.ErrNotSupported):
		return text + ", and this kernel cannot tell (--owners=bpf says why)"
	case err != nil:
		return text + fmt.Sprintf(", and --owners=bpf fails: %v", err)
	}
	return text + ", and the kernel does not show what it holds, either (BPF)"
}

// AsRoot says what helps if capabilities are missing; being root helps, too.
func AsRoot(capabilities string) string {
	if os.Geteuid() == 0 {
		return "run with " + capabilities
	}
	return "run as root, or with " + capabilities
}

// graphic replaces the characters that make process names, which are hostile text,
// dangerous.
func graphic(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return '?'
}

// errnoName is the name of the errno in an error, or the error's text.
func errnoName(err error) string {
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		return cmp.Or(unix.ErrnoName(errno), errno.Error())
	}
	return fmt.Sprint(err)
}
