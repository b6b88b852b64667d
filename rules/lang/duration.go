package lang

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ParseDuration reads a time as rules files and flags write it: a bare number is
// seconds, otherwise units as in 90s, 5m, 1h30m, 2d.
func ParseDuration(text string) (time.Duration, error) {
	t := strings.TrimSpace(text)
	if n, err := strconv.ParseFloat(t, 64); err == nil {
		if n < 0 {
			return 0, fmt.Errorf("%q is negative: a time is at least 0", text)
		}
		if n >= math.MaxInt64/1e9 || math.IsNaN(n) {
			return 0, fmt.Errorf("%q is out of range for a time", text)
		}
		return time.Duration(n * float64(time.Second)), nil
	}
	days := time.Duration(0)
	if d, rest, ok := strings.Cut(t, "d"); ok {
		n, err := strconv.ParseUint(d, 10, 16)
		if err != nil {
			return 0, badDuration(text)
		}
		days, t = time.Duration(n)*24*time.Hour, rest
		if t == "" {
			return days, nil
		}
	}
	d, err := time.ParseDuration(t)
	if err != nil || d < 0 || days+d < 0 {
		return 0, badDuration(text)
	}
	return days + d, nil
}

func badDuration(text string) error {
	return fmt.Errorf("%q is not a time: write seconds, or units as in 90s, 5m, 1h30m, 2d", text)
}
