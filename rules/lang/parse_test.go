package lang

import (
	"testing"
	"time"
)

func TestParsePorts(t *testing.T) {
	sets := map[string]*Set{"rustdesk": setOf(t, false, "21115-21119"), "names": setOf(t, true, "a")}
	for text, want := range map[string]string{
		"80": "[80]", "80-90": "[80..90]", "80..90": "[80..90]", "80:90": "[80..90]", "0": "[0]", "65535": "[65535]", "rustdesk": "[21115..21119]",
	} {
		s, err := ParsePorts(text, sets)
		if err != nil || s.String() != want {
			t.Errorf("%s: %v, %v", text, s, err)
			continue
		}
		r := s.Ranges[0]
		low, high := uint16(r.Low), uint16(r.High)
		if !s.HasPort(low) || !s.HasPort(high) || (low > 0 && s.HasPort(low-1)) || (high < 65535 && s.HasPort(high+1)) {
			t.Errorf("%s holds the wrong ports", text)
		}
	}
	for text, want := range map[string]string{
		"":        `"" is not a port, a range (21115-21119) or a set of ports`,
		"rustdek": `"rustdek" is not a port, a range (21115-21119) or a set of ports (did you mean "rustdesk"?)`,
		"70000":   "port 70000 is out of range (0..65535)",
		"90-80":   `"90-80" is not a range of ports: it goes from low to high, up to 65535`,
		"-5":      `"-5" is not a port, a range (21115-21119) or a set of ports`,
		"names":   `set "names" holds strings, not ports`,
	} {
		if _, err := ParsePorts(text, sets); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "90": 90 * time.Second, "1.5": 1500 * time.Millisecond, " 5m ": 5 * time.Minute, "1h30m": 90 * time.Minute, "2d": 48 * time.Hour,
		"1d12h": 36 * time.Hour, "250ms": 250 * time.Millisecond, "1e3": 1000 * time.Second,
	} {
		if got, err := ParseDuration(text); err != nil || got != want {
			t.Errorf("%q: %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"", " ", "5x", "m", "d", "-5", "-5m", "1.5d", "1d-1h", "1h2d", "5 m", "5m 3", "nan", "inf", "+inf", "1e999", "9223372036.854775807", "9e18",
		"65535d2562047h", "99999999d", "5m;", "1dd",
	} {
		if got, err := ParseDuration(text); err == nil {
			t.Errorf("%q: %v", text, got)
		}
	}
}
