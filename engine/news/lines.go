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
	// maxLines bounds the lines of one kind that a cycle logs.
	maxLines = 25
	// holdsBack is how long what was done is added up before it is said, while its rule
	// has more to do.
	holdsBack = 5 * time.Minute
	// muchMore is by what factor a number must have grown to be said again.
	muchMore = 1.5
)

// lines says in the log what a run does: sockets of one kind together, as tables show
// them, and what stands once. Each single effect is a line at the level debug.
type lines struct {
	log     *slog.Logger
	clock   world.Clock
	quiet   bool // a person gets the sum elsewhere: nothing but debug
	repeats bool // cycle follows on cycle

	standing map[episodeKey]*episode
	effects  map[effectKey]*effects
	order    []effectKey
	failed   map[effectKey]time.Time // when failures were said last
	busy     map[string]bool         // rules that have more to do, as the last cycle told
	said     bool                    // anything, of the last cycle
}

// kind is what sockets have in common that are said together.
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

// attrs describes findings of one kind: a single one as such.
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
	}
	if name := collectors.ContainerOf(first.Facts.Owners); name != "" {
		attrs = append(attrs, slog.String("container", name))
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

// leakAttrs says how near a process is to its limit of descriptors.
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

// effectKey is what effects have in common that are said together.
type effectKey struct {
	kind
	action string
	result actions.Result
}

// effects were done and are not said yet.
type effects struct {
	first    *report.Outcome
	findings []*report.Finding
	since    time.Time
}

// Listens is false: what is said comes from reports.
func (l *lines) Listens() bool { return false }

// Decision says nothing: the end of the cycle does.
func (l *lines) Decision(string, string, *report.Finding) {}

// Outcome adds up what came of an effect. For one on a process the first of its sockets
// stands for all. What had changed was left alone, and is no effect.
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
		if o.Process != nil { // each has its own effect
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

// flush says what was done: a failure at once and then what was added up, and what
// succeeded when its rule has nothing more to do for now.
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

// waits reports whether effects are not to be said yet.
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

// nameProcess makes a line that names the first owner name the one that it is about.
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
