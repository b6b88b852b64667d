package rules

import (
	"fmt"
	"strconv"
	"time"

	"go.yaml.in/yaml/v4"

	"sockwarden/rules/lang"
)

// defaults reads what holds for all rules of the file: limits, the breaker and the time
// zone, and values that rules can also set themselves.
type defaults struct {
	*reader
	limits  Limits
	breaker Breaker // what the file sets of it, zero for the rest
	zone    *time.Location
}

// defaultLimits hold for rules where nothing else is written (DESIGN: they suit a small
// server).
var defaultLimits = Limits{PerCycle: 100, Cooldown: 5 * time.Minute, MaxCollateral: -1}

var defaultsKeys = keys[*defaults, *defaults]{
	{
		"limits", "limits of the rules that have none of their own", refTo("limits"),
		func(d, _ *defaults, n *yaml.Node) { d.limits = d.parseLimits(n, d.limits) },
	},
	{
		"breaker", "what all rules together may do in a cycle; more, and nothing is done", refTo("breaker"),
		func(d, _ *defaults, n *yaml.Node) { d.parseBreaker(n) },
	},
}

func (d *defaults) parseDefaults(n *yaml.Node) { defaultsKeys.fields(d.reader, n, "defaults", d, d) }

var limitsKeys = keys[*defaults, *Limits]{
	{"per_cycle", "the most targets in one cycle", countForm, func(d *defaults, l *Limits, n *yaml.Node) { l.PerCycle = d.count(n, "per_cycle") }},
	{"per_minute", "the most targets in any minute", countForm, func(d *defaults, l *Limits, n *yaml.Node) { l.PerMinute = d.count(n, "per_minute") }},
	{
		"share", "the largest part of the connections of one listener; more, and the rule does nothing", shareForm,
		func(d *defaults, l *Limits, n *yaml.Node) { l.Share = d.share(n, "share") },
	},
	{
		"cooldown", "the time between two actions on the same target, or {target: 5m, peer: 5m}", anyOfForms(durationForm, refTo("cooldown")),
		func(d *defaults, l *Limits, n *yaml.Node) { d.parseCooldown(n, l) },
	},
	{
		"max_collateral", "how many established connections may end with a process that is signalled or restarted", countForm.with("minimum", 0),
		func(d *defaults, l *Limits, n *yaml.Node) {
			if l.MaxCollateral = 0; n.Value != "0" {
				l.MaxCollateral = d.count(n, "max_collateral")
			}
		},
	},
}

func (d *defaults) parseLimits(n *yaml.Node, l Limits) Limits {
	limitsKeys.fields(d.reader, n, "limits", d, &l)
	return l
}

var cooldownKeys = keys[*defaults, *Limits]{
	{
		"target", "the time between two actions on the same socket, process or unit", durationForm,
		func(d *defaults, l *Limits, n *yaml.Node) { l.Cooldown = d.duration(n, "target") },
	},
	{
		"peer", "the time between two actions on connections of the same peer", durationForm,
		func(d *defaults, l *Limits, n *yaml.Node) { l.Peer = d.duration(n, "peer") },
	},
}

// parseCooldown reads a time, or {peer: time} in addition to the one for the target.
func (d *defaults) parseCooldown(n *yaml.Node, l *Limits) {
	if n.Kind != yaml.MappingNode {
		l.Cooldown = d.duration(n, "cooldown")
		return
	}
	cooldownKeys.fields(d.reader, n, "cooldown", d, l)
}

// share reads a part such as 30%.
func (d *defaults) share(n *yaml.Node, what string) float64 {
	v, err := parseShare(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		if percent, err := strconv.Atoi(n.Value); err == nil && percent > 0 && percent <= 100 {
			d.errorf(lang.IDWrongValue, n, "%s is a part of all: write %d%%", what, percent)
			return v
		}
		d.errorf(lang.IDWrongValue, n, "%s is a part of all, such as 30%%, not %s", what, nodeKind(n))
	}
	return v
}

// windows reads a list of parts of the day.
func (d *defaults) windows(n *yaml.Node) []Window {
	var out []Window
	for _, k := range d.items(n, "during", exampleWindow(n)) {
		text, ok := d.text(k, "a window")
		if !ok {
			continue
		}
		w, err := parseWindow(text, d.zone)
		if err != nil {
			d.errorf(lang.IDWrongValue, k, "%v", err)
			continue
		}
		out = append(out, w)
	}
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		d.errorf(lang.IDWrongValue, n, "during has no window: leave it out for always")
	}
	return out
}

// exampleWindow is a list of one window: the scalar's, if it is one.
func exampleWindow(n *yaml.Node) string {
	window := "22:00-06:00"
	if _, err := parseWindow(n.Value, time.UTC); err == nil {
		window = n.Value
	}
	return fmt.Sprintf("during: [%q]", window)
}

// parseZone reads the time zone of the file's windows.
func (d *defaults) parseZone(n *yaml.Node) {
	name, ok := d.text(n, "timezone")
	if !ok {
		return
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == "" {
		d.errorf(lang.IDWrongValue, n, "unknown time zone %q: write it as Europe/Vienna or UTC", name)
		return
	}
	d.zone = zone
}
