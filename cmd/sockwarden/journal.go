package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/lmittmann/tint"
	"golang.org/x/sys/unix"
)

// fieldPrefix begins the names of the fields that a line has in the journal.
const fieldPrefix = "SOCKWARDEN_"

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

// journalHandler sends each line to the journal with its priority and its attributes as
// fields. Where the journal does not take it, it writes the line with the priority that
// sd-daemon(3) defines before it. Time and level are left out: the journal has both.
type journalHandler struct {
	w      io.Writer
	level  slog.Level
	with   []func(slog.Handler) slog.Handler // what the logger has been given so far
	attrs  []slog.Attr                       // the same as fields, with the names of their groups
	groups string
}

func newJournalHandler(w io.Writer, level slog.Level) slog.Handler {
	return journalHandler{w: w, level: level}
}

func withoutTimeAndLevel(groups []string, attr slog.Attr) slog.Attr {
	if len(groups) == 0 && (attr.Key == slog.TimeKey || attr.Key == slog.LevelKey) {
		return slog.Attr{}
	}
	return attr
}

func priority(l slog.Level) journal.Priority {
	switch {
	case l < slog.LevelInfo:
		return journal.PriDebug
	case l < slog.LevelWarn:
		return journal.PriInfo
	case l < slog.LevelError:
		return journal.PriWarning
	}
	return journal.PriErr
}

// Enabled implements slog.Handler.
func (h journalHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

// Handle implements slog.Handler.
func (h journalHandler) Handle(ctx context.Context, r slog.Record) error {
	var line bytes.Buffer
	text := tint.NewTextHandler(&line, &tint.Options{NoColor: true, Level: h.level, ReplaceAttr: withoutTimeAndLevel})
	for _, with := range h.with {
		text = with(text)
	}
	if err := text.Handle(ctx, r); err != nil {
		return err //nolint:wrapcheck // slog's own
	}
	fields := map[string]string{"SYSLOG_IDENTIFIER": "sockwarden"}
	for _, a := range h.attrs {
		addField(fields, "", a)
	}
	r.Attrs(func(a slog.Attr) bool { addField(fields, h.groups, a); return true })
	p := priority(r.Level)
	if journal.Send(strings.TrimSuffix(line.String(), "\n"), p, fields) == nil {
		return nil
	}
	_, err := fmt.Fprintf(h.w, "<%d>%s", p, line.Bytes())
	return err //nolint:wrapcheck // slog's own
}

// addField adds an attribute, or those of a group, under names that the journal takes.
func addField(fields map[string]string, prefix string, a slog.Attr) {
	value := a.Value.Resolve()
	name := prefix + a.Key
	if value.Kind() == slog.KindGroup {
		if a.Key != "" {
			name += "_"
		}
		for _, in := range value.Group() {
			addField(fields, name, in)
		}
		return
	}
	fields[fieldPrefix+strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, name)] = value.String()
}

// WithAttrs implements slog.Handler.
func (h journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	h.with = append(slices.Clip(h.with), func(k slog.Handler) slog.Handler { return k.WithAttrs(attrs) })
	h.attrs = slices.Clip(h.attrs)
	for _, a := range attrs {
		h.attrs = append(h.attrs, slog.Attr{Key: h.groups + a.Key, Value: a.Value})
	}
	return h
}

// WithGroup implements slog.Handler.
func (h journalHandler) WithGroup(name string) slog.Handler {
	h.with = append(slices.Clip(h.with), func(k slog.Handler) slog.Handler { return k.WithGroup(name) })
	h.groups += name + "_"
	return h
}
