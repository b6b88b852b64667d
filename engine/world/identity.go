package world

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// ClockIdentity names the clock by which this process counts the time since boot: a time
// namespace shifts CLOCK_MONOTONIC (Linux 5.6). The kernel reuses the inode of a
// namespace that has ended, so the identity includes the offset.
func ClockIdentity() (string, error) {
	own, err := os.Readlink("/proc/self/ns/time")
	if errors.Is(err, fs.ErrNotExist) {
		return "boot", nil // a kernel without time namespaces has one clock
	}
	if err != nil {
		return "", fmt.Errorf("time namespace: %w", err)
	}
	// The file shows the namespace that children get, which is nearly always our own.
	offsets, err := os.ReadFile("/proc/self/timens_offsets")
	if err != nil {
		return "", fmt.Errorf("time namespace: %w", err)
	}
	return strings.Join(append([]string{own}, strings.Fields(string(offsets))...), " "), nil
}
