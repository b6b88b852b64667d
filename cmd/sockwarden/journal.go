package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/lmittmann/tint"
	"golang.org/x/sys/unix"
)

// isJournal reports whether w is the journal, by the device and inode that systemd puts
// into JOURNAL_STREAM.
func isJournal(w io.Writer) bool {
	f, ok := w.(*os.File)
	want := os.Getenv("JOURNAL_STREAM")
	if !ok || want == "" {
		return false
	}
	var st unix.Stat_t
	return unix.Fstat(int(f.Fd()), &st) == nil && want == fmt.Sprintf("%d:%d", st.Dev, st.Ino)
}

// journalHandler writes the priority that sd-daemon(3) defines before each line, without
// time and level: the journal has both.
type journalHandler struct{ byPriority map[string]slog.Handler }

func newJournalHandler(w io.Writer, level slog.Level) slog.Handler {
	h := journalHandler{map[string]slog.Handler{}}
	for _, p := range []string{"<7>", "<6>", "<4>", "<3>"} {
		h.byPriority[p] = tint.NewTextHandler(prefixWriter{w, p}, &tint.Options{NoColor: true, Level: level, ReplaceAttr: withoutTimeAndLevel})
	}
	return h
}

func withoutTimeAndLevel(groups []string, attr slog.Attr) slog.Attr {
	if len(groups) == 0 && (attr.Key == slog.TimeKey || attr.Key == slog.LevelKey) {
		return slog.Attr{}
	}
	return attr
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
