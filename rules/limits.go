package rules

import (
	"fmt"
	"strconv"
	"time"

	"go.yaml.in/yaml/v4"
)

func (f *rulesFile) parseDefaults(n *yaml.Node) {
	f.fields(n, "defaults", map[string]func(*yaml.Node){
		"limits":  func(n *yaml.Node) { f.limits = f.parseLimits(n, f.limits) },
		"breaker": f.parseBreaker,
	})
}

func (f *rulesFile) parseLimits(n *yaml.Node, l Limits) Limits {
	f.fields(n, "limits", map[string]func(*yaml.Node){
		"per_cycle":  func(n *yaml.Node) { l.PerCycle = f.count(n, "per_cycle") },
		"per_minute": func(n *yaml.Node) { l.PerMinute = f.count(n, "per_minute") },
		"share":      func(n *yaml.Node) { l.Share = f.share(n, "share") },
		"cooldown":   func(n *yaml.Node) { f.parseCooldown(n, &l) },
		"max_collateral": func(n *yaml.Node) {
			if l.MaxCollateral = 0; n.Value != "0" {
				l.MaxCollateral = f.count(n, "max_collateral")
			}
		},
	})
	return l
}

// parseCooldown reads a time, or {peer: time} besides that of the target.
func (f *rulesFile) parseCooldown(n *yaml.Node, l *Limits) {
	if n.Kind != yaml.MappingNode {
		l.Cooldown = f.duration(n, "cooldown")
		return
	}
	f.fields(n, "cooldown", map[string]func(*yaml.Node){
		"target": func(n *yaml.Node) { l.Cooldown = f.duration(n, "target") },
		"peer":   func(n *yaml.Node) { l.Peer = f.duration(n, "peer") },
	})
}

// share reads a part such as 30%.
func (f *rulesFile) share(n *yaml.Node, what string) float64 {
	v, err := parseShare(n.Value)
	if n.Kind != yaml.ScalarNode || err != nil {
		if percent, err := strconv.Atoi(n.Value); err == nil && percent > 0 && percent <= 100 {
			f.errorf(n, "%s is a part of all: write %d%%", what, percent)
			return v
		}
		f.errorf(n, "%s is a part of all, such as 30%%, not %s", what, nodeKind(n))
	}
	return v
}

// windows reads a list of parts of the day.
func (f *rulesFile) windows(n *yaml.Node) []Window {
	var out []Window
	for _, k := range f.items(n, "during", exampleWindow(n)) {
		text, ok := f.text(k, "a window")
		if !ok {
			continue
		}
		w, err := parseWindow(text, f.zone)
		if err != nil {
			f.errorf(k, "%v", err)
			continue
		}
		out = append(out, w)
	}
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		f.errorf(n, "during has no window: leave it out for always")
	}
	return out
}

// exampleWindow is a list of one window, that of a scalar if it is one.
func exampleWindow(n *yaml.Node) string {
	window := "22:00-06:00"
	if _, err := parseWindow(n.Value, time.UTC); err == nil {
		window = n.Value
	}
	return fmt.Sprintf("during: [%q]", window)
}

// parseZone reads the zone of the windows of the file.
func (f *rulesFile) parseZone(n *yaml.Node) {
	name, ok := f.text(n, "timezone")
	if !ok {
		return
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == "" {
		f.errorf(n, "unknown time zone %q: write it as Europe/Vienna or UTC", name)
		return
	}
	f.zone = zone
}
