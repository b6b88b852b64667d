package news

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
)

const (
	// maxLines bounds how many lines of one kind a cycle logs.
	maxLines = 25
	// holdsBack is how long to add up effects before logging them, while their rule has
	// more to do.
	holdsBack = 5 * time.Minute
	// muchMore is the factor by which a number must grow to be logged again.
	muchMore = 1.5
)

// lines logs what a run does: sockets of one kind together, as in tables, and what lasts
// only once. Single effects have lines at the debug level.
type lines struct {
	log     *slog.Logger
	clock   world.Clock
	quiet   bool // a person sees the total elsewhere: only debug lines
	repeats bool // cycles repeat

	standing map[episodeKey]*episode
	effects  map[effectKey]*effects
	order    []effectKey
	failed   map[effectKey]time.Time // when each failure was last logged
	busy     map[string]bool         // rules that have more to do after the last cycle
	said     bool                    // the last cycle had news
}

// kind is what sockets that share a line have in common.
type kind struct {
	rule, state, process string
	netns                uint64
}

func kindOf(rule string, f *report.Finding) kind {
	if f.NoSocket() {
		return kind{rule: rule}
	}
	k := kind{rule: rule, state: f.Socket.State.String(), netns: f.Socket.NetNS}
	if len(f.Facts.Owners) > 0 {
		k.process = f.Facts.Owners[0].String()
	}
	return k
}

// attrs describes findings of one kind; a single finding is described in full.
func (k *kind) attrs(findings []*report.Finding) []slog.Attr {
	first := findings[0]
	if len(findings) == 1 || k.state == "" {
		return first.Attrs()
	}
	attrs := []slog.Attr{slog.Int("count", len(findings)), slog.String("state", k.state)}
	common := func(name string, port func(*report.Finding) uint16) bool {
		p := port(first)
		if slices.ContainsFunc(findings, func(f *report.Finding) bool { return port(f) != p }) {
			return false
		}
		attrs = append(attrs, slog.Int(name, int(p)))
		return true
	}
	if !common("port", func(f *report.Finding) uint16 { return f.Socket.LocalPort }) {
		common("remote_port", func(f *report.Finding) uint16 { return f.Socket.RemotePort })
	}
	if k.process != "" {
		o := &first.Facts.Owners[0]
		attrs = append(attrs, slog.String("process", o.Name), slog.Int("pid", o.PID))
		if unit := o.InService(); unit != "" {
			attrs = append(attrs, slog.String("unit", unit))
		}
	}
	if name := collectors.ContainerOf(first.Facts.Owners); name != "" {
		attrs = append(attrs, slog.String("container", name))
	}
	if name := collectors.Behind(first.Facts.Owners); name != "" {
		attrs = append(attrs, slog.String("leads_to", name))
	}
	if first.Namespace() != "host" {
		attrs = append(attrs, slog.String("netns", first.Namespace()))
	}
	oldest := slices.MaxFunc(findings, func(a, b *report.Finding) int { return cmp.Compare(a.Facts.Age.Min, b.Facts.Age.Min) })
	if a := oldest.Facts.Age; a.Min > 0 {
		attrs = append(attrs, slog.String("oldest", fmt.Sprintf("%.1fs", a.Min)), slog.String("age_source", string(a.Source)))
	}
	return attrs
}

// leakAttrs says how close a process is to its limit of descriptors.
func leakAttrs(f *report.Finding) []slog.Attr {
	if f.Group == nil || f.Group.Facts.FDs < 0 {
		return nil
	}
	attrs := []slog.Attr{slog.Int("fds", int(f.Group.Facts.FDs))}
	if f.Group.Facts.FDLimit > 0 {
		attrs = append(attrs, slog.Int("fd_limit", int(f.Group.Facts.FDLimit)))
	}
	if l := f.Group.Leak; l != nil && l.FullIn > 0 {
		attrs = append(attrs, slog.String("full_in", report.Short(time.Duration(l.FullIn*float64(time.Second)))))
	}
	return attrs
}

// effectKey is what effects that share a line have in common.
type effectKey struct {
	kind
	action string
	result actions.Result
}

// effects are done, but not yet logged.
type effects struct {
	first    *report.Outcome
	findings []*report.Finding
	since    time.Time
}

// Listens is false: reports are enough.
func (l *lines) Listens() bool { return false }

// Decision logs nothing: the end of the cycle does.
func (l *lines) Decision(string, string, *report.Finding) {}

// Outcome adds up effects. For an effect on a process, its first socket stands for all. A
// target that had changed was left alone and is no effect.
func (l *lines) Outcome(ctx context.Context, o *report.Outcome) {
	if o.Result == actions.Changed {
		return
	}
	for i, f := range o.Findings {
		if o.Process != nil && i > 0 {
			return
		}
		l.log.LogAttrs(ctx, slog.LevelDebug, "effect", l.effectAttrs(o, f.Attrs(), f)...)
		if l.quiet {
			continue
		}
		key := effectKey{kindOf(o.Rule, f), o.Effect, o.Result}
		if o.Process != nil { // each process has its own effect
			key.process = o.Process.String()
		}
		e := l.effects[key]
		if e == nil {
			e = &effects{first: o, since: l.clock.Now()}
			l.effects[key] = e
			l.order = append(l.order, key)
		}
		e.findings = append(e.findings, f)
	}
}

func (l *lines) effectAttrs(o *report.Outcome, of []slog.Attr, f *report.Finding) []slog.Attr {
	attrs := []slog.Attr{slog.String("rule", o.Rule), slog.String("action", o.Effect), slog.String("result", string(o.Result))}
	attrs = append(attrs, of...)
	if o.Process != nil {
		nameProcess(attrs, o.Process)
		attrs = append(attrs, slog.Int("sockets", len(o.Findings)))
	}
	if o.Err != nil {
		attrs = append(attrs, slog.String("error", o.Err.Error()))
	}
	if keepers := f.Last().Keepers; len(keepers) > 0 {
		keeper := &keepers[0]
		nameProcess(attrs, keeper)
		attrs = append(attrs, slog.Int("fds", keeper.FDs), slog.Uint64("fd_limit", keeper.FDLimit))
	}
	return attrs
}

// flush logs what was done: a failure at once, with repeats added up later, and successes
// when their rule has nothing more to do for now.
func (l *lines) flush(ctx context.Context) {
	now := l.clock.Now()
	var later []effectKey
	for _, key := range l.order {
		e := l.effects[key]
		if l.repeats && l.waits(key, e, now) {
			later = append(later, key)
			continue
		}
		level := slog.LevelInfo
		if !key.result.Succeeded() || key.result == actions.FDStillHeld {
			level = slog.LevelWarn
		}
		last := e.findings[len(e.findings)-1]
		l.log.LogAttrs(ctx, level, "acted", l.effectAttrs(e.first, key.attrs(e.findings), last)...)
		delete(l.effects, key)
		if !key.result.Succeeded() {
			l.failed[key] = now
		}
	}
	l.order = later
	maps.DeleteFunc(l.failed, func(_ effectKey, at time.Time) bool { return now.Sub(at) >= holdsBack })
}

// waits reports whether effects should not be logged yet.
func (l *lines) waits(key effectKey, e *effects, now time.Time) bool {
	if now.Sub(e.since) >= holdsBack {
		return false
	}
	if key.result.Succeeded() {
		return l.busy[key.rule]
	}
	_, said := l.failed[key]
	return said
}

// nameProcess makes a line that names the first owner name the process that it is about.
func nameProcess(attrs []slog.Attr, o *collectors.Owner) {
	for i := range attrs {
		switch attrs[i].Key {
		case "process":
			attrs[i] = slog.String("process", o.Name)
		case "pid":
			attrs[i] = slog.Int("pid", o.PID)
		}
	}
}
