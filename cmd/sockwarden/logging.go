package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"sockwarden/collectors/trust"
)

// openLog sets a.log up: to stderr or a file, coloured on a terminal, with
// priorities for the journal, or as JSON.
func (a *app) openLog() error {
	level := slog.LevelInfo
	if a.flags.verbose {
		level = slog.LevelDebug
	}
	if a.flags.quiet {
		level = slog.LevelWarn
	}
	w := a.stderr
	if a.flags.logFile != "" {
		f, err := openLogFile(a.flags.logFile)
		if err != nil {
			return &exitError{code: exitUsage, err: fmt.Errorf("--log-file: %w", err)}
		}
		a.logFile, w = f, f
	}
	switch {
	case a.flags.logFormat == "json":
		a.log = slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: durationsAsText}))
	case isJournal(w):
		a.log = slog.New(newJournalHandler(w, level))
	default:
		a.log = slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.TimeOnly, NoColor: !a.colors(w)}))
	}
	return nil
}

func (a *app) colors(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && !a.flags.noColor && os.Getenv("NO_COLOR") == "" && term.IsTerminal(int(f.Fd()))
}

// durationsAsText keeps slog from writing durations as nanoseconds.
func durationsAsText(_ []string, attr slog.Attr) slog.Attr {
	if attr.Value.Kind() == slog.KindDuration {
		attr.Value = slog.StringValue(attr.Value.Duration().String())
	}
	return attr
}

// logFile is a log that can be moved away and is opened anew on SIGHUP.
type logFile struct {
	mu   sync.Mutex
	path string
	f    *os.File
	torn bool // it ends in a part of a line
	hup  chan os.Signal
}

func openLogFile(path string) (*logFile, error) {
	l := &logFile{path: path, hup: make(chan os.Signal, 1)}
	if err := l.reopen(); err != nil {
		return nil, err
	}
	signal.Notify(l.hup, syscall.SIGHUP)
	go func() {
		for range l.hup {
			if err := l.reopen(); err != nil {
				fmt.Fprintf(os.Stderr, "error: a log cannot be reopened: %v; still writing to the old one\n", err)
			}
		}
	}()
	return l, nil
}

func (l *logFile) reopen() error {
	f, err := trust.Append(l.path, 0o640)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.f != nil {
		_ = l.f.Close()
	}
	l.f, l.torn = f, endsTorn(f)
	return nil
}

// logPatience is how long a pipe or a terminal may take no more before a line is
// given up: a reader that stands still must hold up neither cycles nor the end.
const logPatience = time.Second

// Write writes a line with one write(2), all of it or nothing: of one that did not fit
// on a full disk the part is taken back. Where it cannot be, the next line begins on a
// line of its own.
func (l *logFile) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := b
	if l.torn {
		line = slices.Concat([]byte{'\n'}, b)
	}
	_ = l.f.SetWriteDeadline(time.Now().Add(logPatience)) // files have none and need none
	n, err := l.f.Write(line)
	if err == nil {
		l.torn = false
		return len(b), nil
	}
	if n > 0 && !takeBack(l.f, int64(n)) {
		l.torn = true
	}
	return 0, err //nolint:wrapcheck // an io.Writer
}

// takeBack removes the last bytes that were written to a file, if nothing came behind
// them.
func takeBack(f *os.File, n int64) bool {
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() {
		return false
	}
	// Behind a write to the end of a file the offset is where it ended.
	end, err := f.Seek(0, io.SeekCurrent)
	return err == nil && end >= n && st.Size() == end && f.Truncate(end-n) == nil
}

// endsTorn reports whether a file ends in a part of a line, as after a crash.
func endsTorn(f *os.File) bool {
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.Size() == 0 {
		return false
	}
	r, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return false
	}
	defer func() { _ = r.Close() }()
	last := make([]byte, 1)
	_, err = r.ReadAt(last, st.Size()-1)
	return err == nil && last[0] != '\n'
}

func (l *logFile) close() {
	signal.Stop(l.hup)
	close(l.hup)
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.f.Close()
}

// isJournal reports whether w is the journal, by the device and inode that
// systemd gives in JOURNAL_STREAM.
func isJournal(w io.Writer) bool {
	f, ok := w.(*os.File)
	want := os.Getenv("JOURNAL_STREAM")
	if !ok || want == "" {
		return false
	}
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && want == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// journalHandler writes the priority that sd-daemon(3) defines before each line,
// and neither time nor level, which the journal has itself.
type journalHandler struct{ byPriority map[string]slog.Handler }

func newJournalHandler(w io.Writer, level slog.Level) slog.Handler {
	h := journalHandler{map[string]slog.Handler{}}
	for _, p := range []string{"<7>", "<6>", "<4>", "<3>"} {
		h.byPriority[p] = tint.NewTextHandler(prefixWriter{w, p}, &tint.Options{NoColor: true, Level: level, ReplaceAttr: func(groups []string, attr slog.Attr) slog.Attr {
			if len(groups) == 0 && (attr.Key == slog.TimeKey || attr.Key == slog.LevelKey) {
				return slog.Attr{}
			}
			return attr
		}})
	}
	return h
}

func priority(l slog.Level) string {
	switch {
	case l < slog.LevelInfo:
		return "<7>"
	case l < slog.LevelWarn:
		return "<6>"
	case l < slog.LevelError:
		return "<4>"
	}
	return "<3>"
}

type prefixWriter struct {
	w      io.Writer
	prefix string
}

func (p prefixWriter) Write(b []byte) (int, error) {
	_, err := p.w.Write(append([]byte(p.prefix), b...))
	return len(b), err
}

// Enabled implements slog.Handler.
func (h journalHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return h.byPriority[priority(l)].Enabled(ctx, l)
}

// Handle implements slog.Handler.
func (h journalHandler) Handle(ctx context.Context, r slog.Record) error {
	return h.byPriority[priority(r.Level)].Handle(ctx, r) //nolint:wrapcheck // slog's own
}

// WithAttrs implements slog.Handler.
func (h journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.each(func(k slog.Handler) slog.Handler { return k.WithAttrs(attrs) })
}

// WithGroup implements slog.Handler.
func (h journalHandler) WithGroup(name string) slog.Handler {
	return h.each(func(k slog.Handler) slog.Handler { return k.WithGroup(name) })
}

func (h journalHandler) each(f func(slog.Handler) slog.Handler) slog.Handler {
	out := journalHandler{map[string]slog.Handler{}}
	for p, k := range h.byPriority {
		out.byPriority[p] = f(k)
	}
	return out
}
