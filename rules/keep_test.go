package rules

import (
	"slices"
	"strings"
	"testing"

	"sockwarden/collectors"
)

// A rule can keep some sockets of each group: by itself, or where having holds. It reads
// their ages, and keeping others makes it another rule.
func TestKeep(t *testing.T) {
	prints := map[string]bool{}
	for rest, want := range map[string]Rule{
		"keep: 100":                       {Keep: 100, Order: OrderOldest},
		"keep: 100, order: newest":        {Keep: 100, Order: OrderNewest},
		"keep: 1, having: count > 5":      {Keep: 1, Order: OrderOldest},
		"having: count > 5":               {},
		"order: oldest, keep: 7, for: 1m": {Keep: 7, Order: OrderOldest},
	} {
		r := mustLoad(t, "version: 1\nrules:\n  - {name: r, when: owned, then: [log], group: port, "+rest+"}\n").Rules[0]
		if r.Keep != want.Keep || r.Order != want.Order || (r.Having != nil) != strings.Contains(rest, "having") || !r.ReadsAge() {
			t.Errorf("%s: keep %d, order %q, having %v", rest, r.Keep, r.Order, r.Having)
		}
		prints[r.Fingerprint] = true
	}
	if len(prints) != 5 {
		t.Errorf("%d fingerprints", len(prints))
	}
	if !mustLoad(t, "version: 1\nrules:\n  - {name: r, when: owned, then: [log], group: listener, keep: 1}\n").Rules[0].reads().Meets(collectors.ListenerFields()) {
		t.Error("groups by listener take no look at them")
	}
}

// What cannot be meant is refused at its place.
func TestKeepRefused(t *testing.T) {
	for rest, want := range map[string][]string{
		"keep: 100":                    {`4: rule "r": keep is for each group: write group: remote_addr, keep: 100`},
		"keep: 100, having: count > 5": {`4: rule "r": keep is for each group: write group: remote_addr, keep: 100`},
		"group: port, order: newest, having: count > 5":     {`4: rule "r": order says what keep keeps: write keep: 100, order: newest`},
		"group: port, keep: 0":                              {`4: keep is a whole number of at least 1, not "0"`},
		"group: port, keep: many":                           {`4: keep is a whole number of at least 1, not "many"`},
		"group: port, keep: 100, order: biggest":            {`4: order is oldest or newest, not "biggest"`},
		"group: port, keep: 9, then: [{signal: TERM}]":      {`4: rule "r": keep spares some sockets, and signal is for the process with all of them: write having: count > 9`},
		"group: port, keep: 9, then: [log, {signal: TERM}]": {`4: rule "r": keep spares some sockets, and signal is for the process with all of them: write having: count > 9`},
	} {
		then := "then: [log], "
		if strings.Contains(rest, "then") {
			then = ""
		}
		c := testCatalog()
		for i := range c {
			c[i].OnProcess = c[i].Name == "signal"
		}
		dir := writeFiles(t, map[string]string{"rules.yaml": "version: 1\nrules:\n  - {name: r, when: owned, " + then + "\n     " + rest + "}\n"})
		_, _, err := Load(Options{Paths: []string{dir + "/rules.yaml"}, Catalog: c})
		var got []string
		for _, l := range problemLines(t, err, dir) {
			line, message, _ := strings.Cut(l, ":")
			_, message, _ = strings.Cut(message, ": ")
			got = append(got, line+": "+message)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s:\n got %q\nwant %q", rest, got, want)
		}
	}
}
