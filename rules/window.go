package rules

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Window is a part of each day, from one minute to another; it can cross
// midnight.
type Window struct {
	From, To int // minutes since midnight; To is excluded
	Zone     *time.Location
}

// Contains reports whether t lies in the window.
func (w Window) Contains(t time.Time) bool {
	t = t.In(w.Zone)
	minute := t.Hour()*60 + t.Minute()
	if w.From <= w.To {
		return minute >= w.From && minute < w.To
	}
	return minute >= w.From || minute < w.To
}

// String is the window as it is written in a rules file.
func (w Window) String() string {
	return fmt.Sprintf("%02d:%02d-%02d:%02d %s", w.From/60, w.From%60, w.To/60, w.To%60, w.Zone)
}

// inWindow reports whether t lies in one of the windows, and true if there are none.
func inWindow(windows []Window, t time.Time) bool {
	for _, w := range windows {
		if w.Contains(t) {
			return true
		}
	}
	return len(windows) == 0
}

// endOfDay is 24:00, in minutes since midnight.
const endOfDay = 24 * 60

func parseWindow(text string, zone *time.Location) (Window, error) {
	bad := fmt.Errorf("%q is not a window of time: write it as \"01:00-03:30\", in quotes", text)
	from, to, ok := strings.Cut(text, "-")
	if !ok {
		return Window{}, bad
	}
	a, ok1 := parseClock(from)
	b, ok2 := parseClock(to)
	if !ok1 || !ok2 {
		return Window{}, bad
	}
	if a == b || a == endOfDay && b == 0 {
		return Window{}, fmt.Errorf("the window %q is empty; leave it out for always", text)
	}
	if a == endOfDay {
		a = 0 // of the day that begins then
	}
	return Window{From: a, To: b, Zone: zone}, nil
}

// parseClock reads hh:mm; 24:00 is the end of the day.
func parseClock(text string) (minute int, ok bool) {
	h, m, found := strings.Cut(strings.TrimSpace(text), ":")
	hour, err1 := strconv.ParseUint(h, 10, 8)
	min, err2 := strconv.ParseUint(m, 10, 8)
	minute = int(hour*60 + min)
	return minute, found && err1 == nil && err2 == nil && len(h) <= 2 && len(m) == 2 && min < 60 && minute <= endOfDay
}
