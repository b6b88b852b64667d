package memory

import (
	"strings"
	"time"

	"sockwarden/engine/world"
)

// LastRun is what the state file knows of the last live run from cron.
type LastRun struct {
	// Time is when it found these, else when the file was last written: a dry run writes it,
	// too, and leaves them there.
	Time time.Time `json:"time"`
	// Findings counts those that stood then: by rule and decision.
	Findings map[string]map[string]int `json:"findings"`
}

// ReadLastRun reads a state file; nil if there is none, or nothing of this boot in it.
func ReadLastRun(path string, clock world.Clock) (*LastRun, error) {
	s, m, err := OpenState(path, false, clock.Mono)
	if err != nil {
		return nil, err
	}
	if s.Unread != nil {
		return nil, s.Unread
	}
	if s.Known == nil {
		return nil, nil //nolint:nilnil // there was none
	}
	r := &LastRun{Time: s.Known.ModTime(), Findings: map[string]map[string]int{}}
	last := 0.0
	for key, told := range m.Told {
		rest, ok := strings.CutPrefix(key, "decided ")
		if !ok {
			continue
		}
		rule, _, _ := strings.Cut(rest, " ")
		if r.Findings[rule] == nil {
			r.Findings[rule] = map[string]int{}
		}
		r.Findings[rule][told.As]++
		last = max(last, told.Last)
	}
	if last > 0 {
		r.Time = clock.Now().Add(-time.Duration((clock.Mono() - last) * float64(time.Second)))
	}
	return r, nil
}
