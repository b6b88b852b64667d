package world

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// ClockIdentity names the clock by which this process counts the time since
// boot: CLOCK_MONOTONIC is shifted in a time namespace (Linux 5.6). The inode of a
// namespace is given to another one when it ends, so that its offset counts too.
func ClockIdentity() (string, error) {
	own, err := os.Readlink("/proc/self/ns/time")
	if errors.Is(err, fs.ErrNotExist) {
		return "boot", nil // a kernel without them has one clock
	}
	if err != nil {
		return "", fmt.Errorf("time namespace: %w", err)
	}
	// What the file shows is of the namespace that children get, nearly always our own.
	offsets, err := os.ReadFile("/proc/self/timens_offsets")
	if err != nil {
		return "", fmt.Errorf("time namespace: %w", err)
	}
	return strings.Join(append([]string{own}, strings.Fields(string(offsets))...), " "), nil
}
