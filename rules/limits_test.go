package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// limited is a file with a rule with the given limits.
func limited(limits string, before ...string) string {
	return "version: 1\n" + strings.Join(before, "") + "rules:\n  - {name: r, when: owned, then: [log], limits: " + limits + "}\n"
}

// Limits of a rule override those of defaults, which override the built-in ones.
func TestLimits(t *testing.T) {
	built := Limits{PerCycle: 100, Cooldown: 5 * time.Minute, MaxCollateral: -1}
	with := func(change func(*Limits)) Limits { l := built; change(&l); return l }
	const defaults = "defaults: {limits: {per_cycle: 7, per_minute: 70, share: 10%, cooldown: {target: 1m, peer: 2m}, max_collateral: 1}}\n"
	ofFile := Limits{PerCycle: 7, PerMinute: 70, Share: 0.1, Cooldown: time.Minute, Peer: 2 * time.Minute, MaxCollateral: 1}
	for text, want := range map[string]Limits{
		ruleWith("owned"):                             built,
		limited("{}"):                                 built,
		limited("{per_cycle: 1}"):                     with(func(l *Limits) { l.PerCycle = 1 }),
		limited("{per_minute: 3}"):                    with(func(l *Limits) { l.PerMinute = 3 }),
		limited("{share: 30%}"):                       with(func(l *Limits) { l.Share = 0.3 }),
		limited("{share: 0.3}"):                       with(func(l *Limits) { l.Share = 0.3 }),
		limited("{share: 100%}"):                      with(func(l *Limits) { l.Share = 1 }),
		limited("{max_collateral: 0}"):                with(func(l *Limits) { l.MaxCollateral = 0 }),
		limited("{max_collateral: 5}"):                with(func(l *Limits) { l.MaxCollateral = 5 }),
		limited("{cooldown: 1h30m}"):                  with(func(l *Limits) { l.Cooldown = 90 * time.Minute }),
		limited("{cooldown: 0}"):                      with(func(l *Limits) { l.Cooldown = 0 }),
		limited("{cooldown: 90}"):                     with(func(l *Limits) { l.Cooldown = 90 * time.Second }),
		limited("{cooldown: {peer: 5m}}"):             with(func(l *Limits) { l.Peer = 5 * time.Minute }),
		limited("{cooldown: {target: 1m, peer: 2m}}"): with(func(l *Limits) { l.Cooldown, l.Peer = time.Minute, 2*time.Minute }),
		limited("{cooldown: {target: 0}}"):            with(func(l *Limits) { l.Cooldown = 0 }),
		limited("{}", defaults):                       ofFile,
		limited("{}") + defaults:                      ofFile, // wherever they stand
		limited("{cooldown: 9m}", defaults):           {PerCycle: 7, PerMinute: 70, Share: 0.1, Cooldown: 9 * time.Minute, Peer: 2 * time.Minute, MaxCollateral: 1},
		limited("{cooldown: {peer: 9m}}", defaults):   {PerCycle: 7, PerMinute: 70, Share: 0.1, Cooldown: time.Minute, Peer: 9 * time.Minute, MaxCollateral: 1},
	} {
		if got := mustLoad(t, text).Rules[0].Limits; got != want {
			t.Errorf("%s\n got %+v\nwant %+v", text, got, want)
		}
	}
	if got, want := ofFile.String(), "per_cycle 7, per_minute 70, share 10%, cooldown 1m0s, cooldown of a peer 2m0s, max_collateral 1"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got, want := (Limits{MaxCollateral: -1}).String(), ""; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// The built-in rules end no process that still serves anybody.
func TestBuiltinLimits(t *testing.T) {
	p, _, err := Load(Options{Paths: []string{Builtin}, Catalog: testCatalog()})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Rules {
		if r.Limits.MaxCollateral != 0 {
			t.Errorf("%s: %s", r.Name, r.Limits)
		}
	}
}

// Wrong values are refused at their places, and never taken for "no limit".
func TestLimitsRefused(t *testing.T) {
	const whole = " is a whole number of at least 1, not "
	part := func(what, value string) string {
		return what + " is a part of all, such as 30%, not " + value
	}
	for limits, want := range map[string]string{
		"{per_cycle: 0}": "per_cycle" + whole + `"0"`, "{per_cycle: -1}": "per_cycle" + whole + `"-1"`, "{per_cycle: 1.5}": "per_cycle" + whole + `"1.5"`,
		"{per_cycle: many}": "per_cycle" + whole + `"many"`, "{per_cycle: [1]}": "per_cycle" + whole + "a list", "{per_cycle: '5'}": "per_cycle is a whole number: write 5 without quotes",
		"{per_minute: 0}": "per_minute" + whole + `"0"`, "{per_minute: 5/m}": "per_minute" + whole + `"5/m"`, "{per_minute:}": "per_minute" + whole + "nothing",
		"{per_minute: 99999999999999999999}": "per_minute" + whole + `"99999999999999999999"`,
		"{max_collateral: -1}":               "max_collateral" + whole + `"-1"`, "{max_collateral: none}": "max_collateral" + whole + `"none"`, "{max_collateral: {}}": "max_collateral" + whole + "a mapping",
		"{share: 0}": part("share", `"0"`), "{share: 0%}": part("share", `"0%"`), "{share: -5%}": part("share", `"-5%"`), "{share: 101%}": part("share", `"101%"`),
		"{share: 30}": "share is a part of all: write 30%", "{share: half}": part("share", `"half"`), "{share: [30%]}": part("share", "a list"), "{share: nan}": part("share", `"nan"`),
		"{share: NaN%}": part("share", `"NaN%"`), "{share: inf}": part("share", `"inf"`), "{share: %}": "",
		"{cooldown: -5m}":          `cooldown: "-5m" is not a time: write seconds, or units as in 90s, 5m, 1h30m, 2d`,
		"{cooldown: soon}":         `cooldown: "soon" is not a time: write seconds, or units as in 90s, 5m, 1h30m, 2d`,
		"{cooldown: [5m]}":         "cooldown is a string, not a list",
		"{cooldown: {peer: x}}":    `peer: "x" is not a time: write seconds, or units as in 90s, 5m, 1h30m, 2d`,
		"{cooldown: {target: x}}":  `target: "x" is not a time: write seconds, or units as in 90s, 5m, 1h30m, 2d`,
		"{cooldown: {peeer: 5m}}":  `unknown key "peeer" in cooldown (did you mean "peer"?)`,
		"{cooldown: {socket: 5m}}": `unknown key "socket" in cooldown: it has peer, target`,
		"{per_hour: 5}":            `unknown key "per_hour" in limits: it has cooldown, max_collateral, per_cycle, per_minute, share`,
		"{per_cycel: 5}":           `unknown key "per_cycel" in limits (did you mean "per_cycle"?)`,
		"5":                        `limits is a mapping of names to values, not "5": write limits: {per_cycle: 100}`,
	} {
		for _, text := range []string{limited(limits), limited("{}", "defaults: {limits: "+limits+"}\n")} {
			lines := problems(t, text)
			if len(lines) != 1 || want != "" && !strings.HasSuffix(lines[0], ": "+want) {
				t.Errorf("%s: %q, want %q", limits, lines, want)
			}
		}
	}
}

// soak and canary are read, and refused where they would have no effect.
func TestSoakAndCanary(t *testing.T) {
	rule := func(rest string) string {
		return "version: 1\nrules:\n  - {name: r, when: owned, then: [log], " + rest + "}\n"
	}
	r := mustLoad(t, rule("soak: 10m, canary: 5%")).Rules[0]
	if r.Soak != 10*time.Minute || r.Canary != 0.05 {
		t.Errorf("soak %s, canary %v", r.Soak, r.Canary)
	}
	if r = mustLoad(t, rule("mode: enforce")).Rules[0]; r.Soak != 0 || r.Canary != 0 {
		t.Errorf("soak %s, canary %v", r.Soak, r.Canary)
	}
	if r = mustLoad(t, rule("canary: 100%")).Rules[0]; r.Canary != 1 {
		t.Errorf("canary %v", r.Canary)
	}
	for rest, want := range map[string]string{
		"soak: 5x": `soak: "5x" is not a time: write seconds, or units as in 90s, 5m, 1h30m, 2d`, "soak: -1": `soak: "-1" is negative: a time is at least 0`, "soak: [5m]": "soak is a string, not a list", "soak:": "soak is a string, not nothing",
		"canary: 0%": `canary is a part of all, such as 30%, not "0%"`, "canary: 0": `canary is a part of all, such as 30%, not "0"`, "canary: 5": `canary is a part of all: write 5%`,
		"canary: 500%": `canary is a part of all, such as 30%, not "500%"`, "canary:": "canary is a part of all, such as 30%, not nothing", "canary: few": `canary is a part of all, such as 30%, not "few"`,
	} {
		lines := problems(t, rule(rest))
		if len(lines) != 1 || !strings.HasSuffix(lines[0], ": "+want) {
			t.Errorf("%s: %q, want %q", rest, lines, want)
		}
	}
}

// The fingerprint covers everything that decides what a rule does, since soak and the
// timers depend on it; it leaves out what only describes the rule.
func TestFingerprintOfRestraint(t *testing.T) {
	prints := map[string]string{}
	fingerprint := func(rest, before string) string {
		t.Helper()
		p, lines := loadNotifying(t, map[string]string{"rules.yaml": "version: 1\nactions: {ops: {plugin: pigeon}, dev: {plugin: pigeon}}\n" + before + "rules:\n  - {name: r, when: owned, then: [log]" + rest + "}\n"})
		if lines != nil {
			t.Fatal(lines)
		}
		return p.Rules[0].Fingerprint
	}
	for _, rest := range []string{
		"", ", soak: 10m", ", soak: 11m", ", canary: 5%", ", canary: 6%", ", notify: [ops]", ", notify: [ops, dev]", ", notify: [dev, ops]",
		`, during: ["01:00-02:00"]`, `, during: ["01:00-02:01"]`, `, during: ["01:00-02:00", "03:00-04:00"]`,
		", group: pid, having: count > 5", ", group: pid, having: count > 6", ", group: host, having: count > 5", ", group: [pid, port], having: count > 5", ", group: [port, pid], having: count > 5",
		", group: pid, having: count > least",
		", limits: {per_cycle: 99}", ", limits: {per_minute: 100}", ", limits: {share: 30%}", ", limits: {share: 31%}", ", limits: {cooldown: 6m}", ", limits: {cooldown: {peer: 5m}}",
		", limits: {cooldown: {peer: 6m}}", ", limits: {max_collateral: 0}", ", limits: {max_collateral: 1}",
	} {
		print := fingerprint(rest, "vars: {least: 5}\n")
		if other, dup := prints[print]; dup {
			t.Errorf("%q and %q have the same fingerprint", rest, other)
		}
		prints[print] = rest
		if again := fingerprint(rest+", description: another", "vars: {least: 5}\n"); again != print {
			t.Errorf("%q: the description counts", rest)
		}
	}
	for what, differ := range map[string][2]string{
		"variable of having": {fingerprint(", group: pid, having: count > least", "vars: {least: 5}\n"), fingerprint(", group: pid, having: count > least", "vars: {least: 6}\n")},
		"macro of having":    {fingerprint(", group: pid, having: many", "macros: {many: count > 5}\n"), fingerprint(", group: pid, having: many", "macros: {many: count > 6}\n")},
		"zone of windows":    {fingerprint(`, during: ["01:00-02:00"]`, "timezone: UTC\n"), fingerprint(`, during: ["01:00-02:00"]`, "timezone: Asia/Tokyo\n")},
		"limits of defaults": {fingerprint("", ""), fingerprint("", "defaults: {limits: {per_minute: 5}}\n")},
	} {
		if differ[0] == differ[1] {
			t.Errorf("the %s does not count", what)
		}
	}
	if a, b := fingerprint("", "timezone: UTC\n"), fingerprint("", "timezone: Asia/Tokyo\n"); a != b {
		t.Error("a zone counts that no window of the rule uses")
	}
}

// An action that must have a cool-down refuses a rule without one, whatever the order of
// the keys.
func TestNeedsCooldown(t *testing.T) {
	c := testCatalog()
	for i := range c {
		c[i].NeedsCooldown = c[i].Name == "knock"
	}
	for text, ok := range map[string]bool{
		"then: [knock], limits: {cooldown: 0}": false, "limits: {cooldown: {target: 0, peer: 5m}}, then: [log, knock]": false,
		"then: [knock]": true, "then: [knock], limits: {cooldown: 10m}": true, "then: [log], limits: {cooldown: 0}": true,
	} {
		dir := writeFiles(t, map[string]string{"rules.yaml": fmt.Sprintf("version: 1\nrules:\n  - {name: r, when: owned, %s}\n", text)})
		_, _, err := Load(Options{Paths: []string{dir}, Catalog: c})
		if ok != (err == nil) || !ok && !strings.Contains(err.Error(), "knock needs a cool-down: write limits: {cooldown: 10m}") {
			t.Errorf("%s: %v", text, err)
		}
	}
	// Nor can another file take it away.
	dir := writeFiles(t, map[string]string{"rules.yaml": "version: 1\nrules: [{name: r, when: owned, then: [knock]}]\noverrides: {r: {limits: {cooldown: 0}}}\n"})
	_, _, err := Load(Options{Paths: []string{dir}, Catalog: c})
	if err == nil || !strings.HasSuffix(err.Error(), `rules.yaml:3:25: knock of rule "r" needs a cool-down: write limits: {cooldown: 10m}`) {
		t.Error(err)
	}
}

// An action on one socket cannot follow one on a process: the process's other sockets
// would be left out.
func TestSingleAfterProcess(t *testing.T) {
	c := testCatalog()
	for i := range c {
		c[i].OnProcess, c[i].Single = c[i].Name == "signal", c[i].Name == "destroy"
	}
	for then, ok := range map[string]bool{
		"[destroy, {signal: TERM}]": true, "[destroy, log, {signal: TERM}, {signal: KILL}, log]": true,
		"[{signal: TERM}, destroy]": false, "[destroy, {signal: TERM}, log, destroy]": false,
	} {
		dir := writeFiles(t, map[string]string{"rules.yaml": fmt.Sprintf("version: 1\nrules:\n  - {name: r, when: owned, then: %s}\n", then)})
		_, _, err := Load(Options{Paths: []string{dir}, Catalog: c})
		if ok != (err == nil) || !ok && !strings.Contains(err.Error(), "destroy is for one socket and cannot follow signal") {
			t.Errorf("%s: %v", then, err)
		}
	}
}
