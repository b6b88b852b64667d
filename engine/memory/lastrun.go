package memory

import (
	"strings"
	"time"
)

// LastRun is what the state file knows of the last live run from cron.
type LastRun struct {
	Time time.Time `json:"time"` // when the file was last written
	// Findings counts those that stood then: by rule and decision.
	Findings map[string]map[string]int `json:"findings"`
}

// ReadLastRun reads a state file; nil if there is none, or nothing of this boot in it.
func ReadLastRun(path string, now func() float64) (*LastRun, error) {
	s, m, err := OpenState(path, false, now)
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
	}
	return r, nil
}
