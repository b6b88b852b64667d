package rules

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// Settle is how long nobody may touch files before only their new content counts.
	Settle = 2 * time.Second
	// Patience is how long a live run waits for files that somebody is writing.
	Patience = 5 * time.Second
	// settlePoll is how often a live run reads files while it waits for them.
	settlePoll = 100 * time.Millisecond
)

// Unfinished wraps errors in files that are still being written or were changed a moment
// ago: they may cure themselves.
type Unfinished struct {
	Err     error
	Writing []string // files that another process has open for writing
}

// Error returns the message of the wrapped error.
func (e *Unfinished) Error() string { return e.Err.Error() }

// Unwrap returns the wrapped error.
func (e *Unfinished) Unwrap() error { return e.Err }

func (l *loader) unfinished(err error) error {
	if err == nil || len(l.inputs.writing) == 0 {
		return err
	}
	return &Unfinished{err, l.inputs.writing}
}

// LoadSettled is Load for callers that act on the result at once: it waits until no file
// is open for writing elsewhere, and nothing has changed for as long as Settle. If it
// must wait, it reports why. After Patience the error is Unfinished, with Problems that
// name what does not settle.
func LoadSettled(ctx context.Context, opts Options, waiting func(why string)) (*Program, []string, error) {
	if opts.Lists == nil {
		opts.Lists = &Lists{}
	}
	began := time.Now()
	since, last, told := began, "", false
	for {
		p, l, err := readAndCompile(opts)
		now, sight := time.Now(), l.sight(p, err)
		if sight != last {
			since, last = now, sight
		}
		why := l.inputs.unsettled(now)
		if len(l.inputs.writing) == 0 && (why == "" || now.Sub(since) >= Settle) {
			return p, l.watched, err
		}
		if now.Sub(began) >= Patience {
			if err == nil {
				err = Problems{{Message: fmt.Sprintf("the rules do not settle: %s; a live run waits %s and takes no rules that are just being written: "+
					"try again when they are complete", why, Patience)}}
			}
			if _, known := errors.AsType[*Unfinished](err); !known {
				err = &Unfinished{err, l.inputs.writing}
			}
			return nil, l.watched, err
		}
		if !told {
			waiting(why)
			told = true
		}
		select {
		case <-time.After(settlePoll):
		case <-ctx.Done():
			return nil, l.watched, context.Cause(ctx)
		}
	}
}

// sight is what was read: as long as it stays the same, nothing has changed.
func (l *loader) sight(p *Program, err error) string {
	var b strings.Builder
	if p != nil {
		b.WriteString(p.Generation)
	}
	fmt.Fprintln(&b, err)
	isFile := func(path string) bool { _, ok := l.inputs.content(path); return ok }
	for _, s := range l.inputs.stamps {
		if isFile(s.path) { // of directories only the contents count: others may work there
			fmt.Fprintln(&b, s.path, s.inode, s.changed.UnixNano())
		}
	}
	return b.String()
}

// unsettled says what is being written or changed a moment ago, "" if nothing.
func (in *inputs) unsettled(now time.Time) string {
	if len(in.writing) > 0 {
		return in.writing[0] + " is open for writing by another process"
	}
	youngest := slices.MaxFunc(append([]stamp{{}}, in.stamps...), func(a, b stamp) int { return a.changed.Compare(b.changed) })
	if now.Sub(youngest.changed) >= Settle {
		return ""
	}
	return fmt.Sprintf("%s has changed %.1f s ago", youngest.path, max(0, now.Sub(youngest.changed).Seconds()))
}
