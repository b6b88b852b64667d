package memory

import (
	"encoding/json"
	"maps"
	"strconv"
	"testing"
)

// The counts of the last hour and day move on, and survive a file.
func TestResults(t *testing.T) {
	m := NewMemory()
	const now = 200_000.0
	for _, c := range []struct {
		ago    float64
		result string
	}{{0, "gone"}, {60, "gone"}, {3000, "fd_still_held"}, {4200, "gone"}, {80_000, "gone"}, {90_000, "gone"}} {
		m.Count("r", c.result, now-c.ago)
	}
	m.Count("other", "gone", now)
	expect := func(what string, m *Memory, at float64, wantHour, wantDay map[string]int) {
		t.Helper()
		if hour, day := m.Lately("r", at); !maps.Equal(hour, wantHour) || !maps.Equal(day, wantDay) {
			t.Errorf("%s: hour %v, day %v", what, hour, day)
		}
	}
	lately, all := map[string]int{"gone": 2, "fd_still_held": 1}, map[string]int{"gone": 4, "fd_still_held": 1}
	expect("now", m, now, lately, all)
	b, err := json.Marshal(m.Results)
	if err != nil {
		t.Fatal(err)
	}
	var doc Results
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	// What cannot be true is left out.
	doc["r"]["99999999"] = map[string]int{"gone": 9}
	doc["r"]["-1"] = map[string]int{"gone": 9}
	doc["r"]["x"] = map[string]int{"gone": 9}
	doc["r"]["600"] = map[string]int{"refused": -9}
	again := NewMemory()
	again.Results.take(doc, now)
	expect("from a file", again, now, lately, all)
	again.Expire(now + 7200)
	expect("two hours later", again, now+7200, map[string]int{}, map[string]int{"gone": 3, "fd_still_held": 1})
	again.Expire(now + 90_000)
	if len(again.Results) != 0 {
		t.Errorf("a day later %v", again.Results)
	}
	// A file cannot make memory large.
	for i := range 10_000 {
		again.Count(strconv.Itoa(i), "gone", now)
	}
	if len(again.Results) != maxTallies {
		t.Errorf("%d rules", len(again.Results))
	}
}
