package leash

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// killChildren kills the children of this process. Nobody reaps them meanwhile, so their
// PIDs still belong to them.
func killChildren() {
	pids, ok := listedChildren()
	if !ok {
		pids = searchedChildren()
	}
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// listedChildren reads the kernel's lists of children; false if it has none
// (CONFIG_PROC_CHILDREN).
func listedChildren() (pids []int, ok bool) {
	lists, _ := filepath.Glob("/proc/self/task/*/children")
	for _, list := range lists {
		text, err := os.ReadFile(list)
		if err != nil {
			continue // a thread that ends leaves its children to another one
		}
		for word := range strings.FieldsSeq(string(text)) {
			if pid, err := strconv.Atoi(word); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids, len(lists) > 0
}

// searchedChildren looks at the parents of all processes.
func searchedChildren() (pids []int) {
	self := os.Getpid()
	all, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range all {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		// pid (comm) state ppid: comm can contain anything.
		after := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err == nil && len(after) > 1 && after[1] == strconv.Itoa(self) {
			pids = append(pids, pid)
		}
	}
	return pids
}
