package lang

import (
	"testing"

	"sockwarden/rules/lang/langtest"
)

// TestExpanded: what a reader sees of a condition has no names any more, but for long
// lists and strings that look like one.
func TestExpanded(t *testing.T) {
	sc := scopeOf(t, langtest.RandomDefinitions+"  long: port in [1,3,5,7,9,11,13,15,17,19,21,23]\n")
	for text, want := range map[string]string{
		"hung":                           `state == "CLOSE_WAIT" and age > 60`,
		"hung and port > limit":          `(state == "CLOSE_WAIT" and age > 60) and port > 60`,
		"not local":                      "not (port in [21115..21119] or remote_port in [80, 443, 8000..8099])",
		"both":                           `(state == "CLOSE_WAIT" and age > 60) or not (port in [21115..21119] or remote_port in [80, 443, 8000..8099])`,
		`process == server`:              `process == "hbbs"`,
		`process == "limit"`:             `process == "limit"`,
		`process == 'it\'s limit'`:       `process == 'it\'s limit'`,
		"who in servers":                 `process in ["hbbs", "nginx"]`,
		"age > lookup(timeouts, who, 1)": `age > lookup({hbbs: 30, nginx: 60}, process, 1)`,
		"remote_addr in tailnet":         `remote_addr in ["100.64.0.0/10", "fd7a:115c:a1e0::/48"]`,
		"long":                           "port in [1,3,5,7,9,11,13,15,17,19,21,23]",
		"port == 1e2":                    "port == 1e2",
	} {
		c, errs := Compile(text, sc)
		if c == nil {
			t.Errorf("%s: %v", text, errs)
			continue
		}
		if got := c.Expanded(); got != want {
			t.Errorf("%s\nis %s\nnot %s", text, got, want)
		}
	}
}

// TestExpandedMeansTheSame: where an expanded text is a condition itself, it says the same
// of every record.
func TestExpandedMeansTheSame(t *testing.T) {
	sc := scopeOf(t, langtest.RandomDefinitions)
	changed := 0
	for seed := range langtest.Rounds(2000) {
		w := langtest.NewWriter(uint64(seed), 31)
		c := compiled(t, sc, w.Condition(4).Rules)
		full, _ := Compile(c.Expanded(), &Scope{})
		if full == nil {
			continue // such as one with a map, which only variables are
		}
		if c.Expanded() != c.Text {
			changed++
		}
		r := langtest.RandomRecord(w)
		if seed%4 != 0 {
			langtest.Hide(w, r)
		}
		if got, want := full.Eval(r), c.Eval(r); got != want {
			t.Fatalf("seed %d: %s\nis %v, and expanded to\n%s\n%v", seed, c.Text, want, full.Text, got)
		}
	}
	if changed < langtest.Rounds(2000)/6 {
		t.Errorf("only %d were expanded", changed)
	}
}
