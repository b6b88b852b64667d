package host

import (
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Monotonic returns CLOCK_MONOTONIC in seconds since boot, shifted in a time namespace.
// It stands still while the machine is suspended, as the kernel's timers do, and
// bpf_ktime_get_ns reads the same clock.
func Monotonic() float64 { return clock(unix.CLOCK_MONOTONIC) }

// SinceBoot returns CLOCK_BOOTTIME in seconds, the clock of process start times. It
// continues while the machine is suspended.
func SinceBoot() float64 { return clock(unix.CLOCK_BOOTTIME) }

func clock(id int32) float64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic(err) // every Linux has both
	}
	return float64(ts.Nano()) / 1e9
}

// BootID names this boot of the machine. The error names the unreadable file: /proc/sys
// can be hidden.
func BootID() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err //nolint:wrapcheck // it names the file
	}
	return strings.TrimSpace(string(id)), nil
}
