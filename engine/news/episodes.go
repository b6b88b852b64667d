package news

import (
	"context"
	"log/slog"
	"maps"
	"time"

	"sockwarden/actions"
	"sockwarden/engine/report"
	"sockwarden/rules"
)

// episodeKey is what findings of the same episode have in common.
type episodeKey struct {
	kind
	as string // what will happen to them
}

// episode is a set of findings that last.
type episode struct {
	began time.Time
	last  time.Time // when we last saw them
	most  int       // how many there were when we last said so
	said  bool      // the log has mentioned it
	seen  bool      // in this cycle
}

// forgotten is how long a watcher that cannot see everything remembers findings that it
// no longer sees.
const forgotten = time.Hour

// acting stands for findings that a rule acts on, or will, including those that wait for
// limits and cool-downs. Which of them wait is no news.
const acting = "act"

// what says what will happen to a finding, as far as that is news.
func what(f *report.Finding) string {
	switch f.Decision { //nolint:exhaustive // the others stand for themselves
	case report.DecideAct, report.DecideLimited, report.DecideCooldown:
		return acting
	}
	return string(f.Decision)
}

// left reports whether there is more to do for a finding.
func left(f *report.Finding) bool {
	return f.Decision == report.DecideLimited || f.Decision == report.DecidePending
}

// acted reports whether a finding was acted on, which has its own line.
func acted(f *report.Finding) bool {
	result := f.Last().Result
	return f.Decision == report.DecideAct && result != actions.Would && result != actions.Changed
}

// Cycle says what has begun, what has changed, and what is over.
func (l *lines) Cycle(ctx context.Context, _ *rules.Program, r *report.Report) {
	if !l.repeats {
		l.flush(ctx)
		return
	}
	for _, e := range l.standing {
		e.seen = false
	}
	l.busy = map[string]bool{}
	groups := map[episodeKey][]*report.Finding{}
	var order []episodeKey
	for _, f := range r.Findings {
		key := episodeKey{kindOf(f.Rule.Name, f), what(f)}
		if groups[key] == nil {
			order = append(order, key)
		}
		groups[key] = append(groups[key], f)
		l.busy[f.Rule.Name] = l.busy[f.Rule.Name] || left(f)
	}
	more := 0
	for _, key := range order {
		if !l.begins(key, groups[key]) {
			continue
		}
		l.said = true
		if more++; more <= maxLines {
			l.finding(ctx, key, groups[key])
		}
	}
	if more > maxLines {
		l.log.Info("more findings of other kinds", "count", more-maxLines)
	}
	l.flush(ctx)
	l.over(ctx, r)
}

// begins records findings of one kind. It reports whether to tell people: when they
// appear, when their fate changes, and when there are many more.
func (l *lines) begins(key episodeKey, found []*report.Finding) bool {
	e, known := l.standing[key]
	if !known {
		e = &episode{began: l.clock.Now()}
		l.standing[key] = e
	}
	e.seen, e.last = true, l.clock.Now()
	if known && (e.said || key.as == acting && l.resumes(key)) && float64(len(found)) <= muchMore*float64(e.most) {
		return false
	}
	waits := false
	for _, f := range found {
		waits = waits || !acted(f)
	}
	if key.as == acting && !waits {
		e.most = max(e.most, len(found))
		return false // the outcome says it
	}
	e.most, e.said = max(e.most, len(found)), true
	return true
}

// resumes reports whether people know these findings already, with another fate.
func (l *lines) resumes(key episodeKey) bool {
	for other, e := range l.standing {
		if other.kind == key.kind && e.said {
			return true
		}
	}
	return false
}

func (l *lines) finding(ctx context.Context, key episodeKey, found []*report.Finding) {
	first := found[0]
	for _, f := range found { // prefer one that says why it waits
		if f.Reason != "" {
			first = f
			break
		}
	}
	message := "finding"
	attrs := append([]slog.Attr{slog.String("rule", key.rule), slog.String("decision", string(first.Decision))}, key.attrs(found)...)
	if last := first.Last(); last.Result == actions.Would {
		message = "would act"
		attrs = append(attrs, slog.String("action", last.Action))
	}
	attrs = append(attrs, leakAttrs(first)...)
	if first.Reason != "" {
		attrs = append(attrs, slog.String("reason", first.Reason))
	}
	l.log.LogAttrs(ctx, slog.LevelInfo, message, attrs...)
}

// over says what has ended, if people know of it. What a cycle missed because it could
// not look at everything has not ended; it is forgotten some time later.
func (l *lines) over(ctx context.Context, r *report.Report) {
	if r.Incomplete {
		maps.DeleteFunc(l.standing, func(_ episodeKey, e *episode) bool { return l.clock.Now().Sub(e.last) > forgotten })
		return
	}
	stands := map[kind]bool{}
	for key, e := range l.standing {
		stands[key.kind] = stands[key.kind] || e.seen
	}
	for key, e := range l.standing {
		if e.seen {
			continue
		}
		delete(l.standing, key)
		if !e.said || stands[key.kind] {
			continue
		}
		stands[key.kind] = true // once
		l.said = true
		attrs := []slog.Attr{slog.String("rule", key.rule)}
		if key.state != "" {
			attrs = append(attrs, slog.String("state", key.state))
		}
		if key.process != "" {
			attrs = append(attrs, slog.String("process", key.process))
		}
		l.log.LogAttrs(ctx, slog.LevelInfo, "over", append(attrs, slog.Int("count", e.most), slog.String("lasted", report.Short(l.clock.Now().Sub(e.began))))...)
	}
}
