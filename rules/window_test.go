package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// during is a file with a rule that has the given windows.
func during(windows string, before ...string) string {
	return "version: 1\n" + strings.Join(before, "") + "rules:\n  - {name: r, when: owned, then: [log], during: " + windows + "}\n"
}

const utc = "timezone: UTC\n"

// at is a time of a day in UTC.
func at(clock string) time.Time {
	t, err := time.Parse("15:04:05", clock)
	if err != nil {
		panic(err)
	}
	return t
}

// A window holds from its first minute up to its last, even across midnight.
func TestInWindow(t *testing.T) {
	for windows, times := range map[string]string{
		`["01:00-03:30"]`:                "-00:59:59 +01:00:00 +03:29:59 -03:30:00 -12:00:00",
		`["22:00-06:00"]`:                "-21:59:59 +22:00:00 +23:59:59 +00:00:00 +05:59:59 -06:00:00",
		`["00:00-24:00"]`:                "+00:00:00 +12:00:00 +23:59:59",
		`["18:00-24:00"]`:                "-17:59:59 +18:00:00 +23:59:59 -00:00:00",
		`["24:00-01:00"]`:                "+00:00:00 +00:59:59 -01:00:00 -23:59:59",
		`["23:59-00:00"]`:                "-23:58:59 +23:59:00 +23:59:59 -00:00:00",
		`["00:00-00:01"]`:                "+00:00:00 +00:00:59 -00:01:00 -23:59:59",
		`["1:00-2:00"]`:                  "-00:59:59 +01:00:00 -02:00:00",
		`[" 01:00 - 02:00 "]`:            "-00:59:59 +01:00:00 -02:00:00",
		`["01:00-02:00", "12:00-13:00"]`: "+01:30:00 -02:00:00 +12:00:00 -13:00:00",
		`["01:00-03:00", "02:00-04:00"]`: "+01:00:00 +02:30:00 +03:30:00 -04:00:00",
		`[01:00-03:30]`:                  "+01:00:00 -03:30:00", // plain text in YAML 1.2
	} {
		r := mustLoad(t, during(windows, utc)).Rules[0]
		for clock := range strings.FieldsSeq(times) {
			if got := r.InWindow(at(clock[1:])); got != (clock[0] == '+') {
				t.Errorf("%s at %s: %t", windows, clock[1:], got)
			}
		}
	}
	if r := mustLoad(t, ruleWith("owned")).Rules[0]; !r.InWindow(at("00:00:00")) || !r.InWindow(at("12:00:00")) {
		t.Error("a rule without windows is limited")
	}
}

// Windows are in the time zone of the file, or of this machine if it names none.
func TestTimezone(t *testing.T) {
	summer, winter := time.Date(2025, 7, 1, 10, 30, 0, 0, time.UTC), time.Date(2025, 1, 1, 10, 30, 0, 0, time.UTC)
	const windows = `["12:00-13:00"]`
	for zone, want := range map[string][2]bool{"Europe/Vienna": {true, false}, "UTC": {false, false}, "Etc/GMT-2": {true, true}} {
		// The place of the key in the file does not matter.
		for _, text := range []string{during(windows, "timezone: "+zone+"\n"), during(windows) + "timezone: " + zone + "\n"} {
			r := mustLoad(t, text).Rules[0]
			if got := [2]bool{r.InWindow(summer), r.InWindow(winter)}; got != want {
				t.Errorf("%s: %v, want %v", zone, got, want)
			}
		}
	}
	r := mustLoad(t, during(windows)).Rules[0]
	if r.During[0].Zone != time.Local || r.InWindow(summer) != (summer.Local().Hour() == 12) {
		t.Errorf("without a zone: %v", r.During[0])
	}
	for zone, want := range map[string]string{
		"Mars/Olympus": `unknown time zone "Mars/Olympus": write it as Europe/Vienna or UTC`, `""`: `unknown time zone "": write it as Europe/Vienna or UTC`,
		"../../etc/passwd": `unknown time zone "../../etc/passwd": write it as Europe/Vienna or UTC`,
		"[UTC]":            "timezone is a string, not a list", "": "timezone is a string, not nothing",
	} {
		lines := problems(t, during(windows, "timezone: "+zone+"\n"))
		if len(lines) != 1 || !strings.HasPrefix(lines[0], "2:") || !strings.HasSuffix(lines[0], ": "+want) {
			t.Errorf("%s: %q", zone, lines)
		}
	}
}

// What is not a window is refused at its place.
func TestWindowRefused(t *testing.T) {
	bad := func(text string) string {
		return fmt.Sprintf("%q is not a window of time: write it as \"01:00-03:30\", in quotes", text)
	}
	for _, text := range []string{
		"25:00-26:00", "24:01-03:00", "01:60-02:00", "1-2", "01:00", "01:00-", "-01:00", "01:00-02:00-03:00", "01:0-02:00", "001:00-02:00",
		"+1:00-02:00", "01:+5-02:00", "01:00–02:00", "now-later", "", "01.00-02.00", "01:00:00-02:00:00", "0x1:00-02:00", "01:00-4294967297:00",
	} {
		checkLines(t, problems(t, during(`["`+text+`"]`)), "3:50: "+bad(text))
	}
	for _, text := range []string{"01:00-01:00", "00:00-00:00", "24:00-24:00", "24:00-00:00"} {
		checkLines(t, problems(t, during(`["`+text+`"]`)), fmt.Sprintf("3:50: the window %q is empty; leave it out for always", text))
	}
	for windows, want := range map[string]string{
		"[]": "3:49: during has no window: leave it out for always", `"01:00-02:00"`: `3:49: during is a list, not "01:00-02:00": write during: ["01:00-02:00"]`,
		"{from: 1}": `3:49: during is a list, not a mapping: write during: ["22:00-06:00"]`, "[[1]]": "3:50: a window is a string, not a list",
	} {
		checkLines(t, problems(t, during(windows)), want)
	}
	// Every bad one is reported.
	if lines := problems(t, during(`["1", "01:00-02:00", "2"]`)); len(lines) != 2 {
		t.Errorf("%q", lines)
	}
}

// protect has windows too, and with them needs no condition.
func TestProtectDuring(t *testing.T) {
	p := mustLoad(t, utc+ruleWith("owned")+`protect:
  - {name: always, when: port == 22}
  - {name: nightly, when: port == 80, during: ["22:00-06:00"]}
  - {name: backup, during: ["01:00-03:30"]}
`)
	for name, times := range map[string]string{
		"always": "+00:00:00 +12:00:00", "nightly": "+23:00:00 +02:00:00 -12:00:00", "backup": "+02:00:00 -23:00:00 -12:00:00",
	} {
		for _, pr := range p.Protect {
			for clock := range strings.FieldsSeq(times) {
				if pr.Name == name && pr.InForce(at(clock[1:])) != (clock[0] == '+') {
					t.Errorf("%s at %s: %t", name, clock[1:], pr.InForce(at(clock[1:])))
				}
			}
		}
	}
	if backup := p.Protect[2]; backup.When.Text != "true" || backup.When.Eval(nil) != True {
		t.Errorf("backup: %+v", backup.When)
	}
	checkLines(t, problems(t, ruleWith("owned")+"protect:\n  - {name: a}\n  - {name: b, during: []}\n  - {during: [\"01:00-02:00\"]}\n"),
		"8:5: an entry of protect needs a condition: write when: port == 22", "9:23: during has no window: leave it out for always", "10:5: an entry of protect needs a name: write name: ssh")
}
