package main

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/lmittmann/tint"
	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"sockwarden/cmd/sockwarden/view"
)

// openLog sets up a.log: to stderr or a file, coloured on a terminal, with priorities for
// the journal, or as JSON.
func (a *app) openLog() error {
	level := slog.LevelInfo
	if a.flags.log.verbose {
		level = slog.LevelDebug
	}
	if a.flags.quiet {
		level = slog.LevelWarn
	}
	w := a.stderr
	if a.flags.log.file != "" {
		f, err := openLogFile(a.flags.log.file)
		if err != nil {
			return &exitError{code: exitUsage, err: fmt.Errorf("--log-file: %w", err)}
		}
		a.logFile, w = f, f
	}
	switch {
	case a.flags.log.format == "json":
		a.log = slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: durationsAsText}))
	case isJournal(w):
		a.log = slog.New(newJournalHandler(w, level))
	default:
		a.log = slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: timeFormat(w), NoColor: !a.colors(w)}))
	}
	return nil
}

// timeFormat is the time of day on a terminal, and the full date where the log is kept.
func timeFormat(w io.Writer) string {
	if isTerminal(w) {
		return time.TimeOnly
	}
	return time.RFC3339
}

func (a *app) colors(w io.Writer) bool {
	return !a.flags.log.noColor && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb" && isTerminal(w)
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// together reports whether the log appears in the same place as the table, as on a
// terminal and in cron's mail: the log then does not repeat the table. The journal sorts
// by priority and gets both.
func (a *app) together() bool {
	out, ok := a.stdout.(*os.File)
	if !ok || a.logFile != nil || a.out().Format != view.Text || isJournal(a.stderr) {
		return false
	}
	logs, ok := a.stderr.(*os.File)
	if !ok {
		return false
	}
	var x, y unix.Stat_t
	return unix.Fstat(int(out.Fd()), &x) == nil && unix.Fstat(int(logs.Fd()), &y) == nil && x.Dev == y.Dev && x.Ino == y.Ino
}

// durationsAsText keeps slog from writing durations as nanoseconds.
func durationsAsText(_ []string, attr slog.Attr) slog.Attr {
	if attr.Value.Kind() == slog.KindDuration {
		attr.Value = slog.StringValue(attr.Value.Duration().String())
	}
	return attr
}
