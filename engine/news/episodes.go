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

// episodeKey is what findings have in common that stand together.
type episodeKey struct {
	kind
	as string // what is to become of them
}

// episode is findings that stand.
type episode struct {
	began time.Time
	last  time.Time // when they were seen last
	most  int       // how many there were when that was said last
	said  bool      // people know of it
	seen  bool      // in this cycle
}

// forgotten is after what time a watcher that cannot see everything forgets what it does
// not see any more.
const forgotten = time.Hour

// acting is what becomes of findings that a rule acts on, or will: those that wait for
// limits and cool-downs, too. Who waits when is nothing new.
const acting = "act"

// what says what is to become of a finding, as far as it is news.
func what(f *report.Finding) string {
	switch f.Decision { //nolint:exhaustive // each other one stands for itself
	case report.DecideAct, report.DecideLimited, report.DecideCooldown:
		return acting
	}
	return string(f.Decision)
}

// left reports whether there is more to do for a finding.
func left(f *report.Finding) bool {
	return f.Decision == report.DecideLimited || f.Decision == report.DecidePending
}

// acted reports whether something was done for a finding, which has a line of its own.
func acted(f *report.Finding) bool {
	result := f.Last().Result
	return f.Decision == report.DecideAct && result != actions.Would && result != actions.Changed
}

// Cycle says what has begun, what has become of it, and what is over.
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

// begins notes findings of one kind, and reports whether people are to hear of them:
// when they appear, when something else becomes of them, and when they are many more.
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
		return false // what was done says it
	}
	e.most, e.said = max(e.most, len(found)), true
	return true
}

// resumes reports whether people know of these findings, as what something else was to
// become of.
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
	for _, f := range found { // one that says why it waits
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

// over says what people know of and has ended. What a cycle did not see, as it could not
// look at everything, has not, and is forgotten some time later.
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
