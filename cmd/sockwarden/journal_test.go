package main

import (
	"bytes"
	"errors"
	"log/slog"
	"maps"
	"os"
	"testing"
	"time"

	"sockwarden/collectors/socklab"
)

// Where no journal listens, each line is written with its priority before it.
func TestJournalHandlerWithoutJournal(t *testing.T) {
	socklab.Need(t)
	if _, err := os.Stat("/run/systemd/journal/socket"); err == nil {
		t.Fatal("/run is not the lab's")
	}
	var out bytes.Buffer
	log := slog.New(newJournalHandler(&out, slog.LevelInfo)).With("rule", "leak").WithGroup("by")
	log.Debug("not this")
	log.Info("acted", "pid", 7)
	log.Warn("limited")
	log.Error("rejected", "error", errors.New("a b"))
	const want = "<6>acted rule=leak by.pid=7\n<4>limited rule=leak\n<3>rejected rule=leak by.error=\"a b\"\n"
	if out.String() != want {
		t.Errorf("%q, not %q", out.String(), want)
	}
}

// The names of fields are those that the journal takes, and values are as they are.
func TestJournalFields(t *testing.T) {
	odd := func(key string, value slog.Value) slog.Attr { return slog.Attr{Key: key, Value: value} }
	fields := map[string]string{}
	for _, a := range []slog.Attr{
		slog.String("rule", "a\nPRIORITY=0"), slog.Int("fd_limit", 1024), odd("took.ms", slog.DurationValue(time.Second)),
		slog.Group("by", slog.Group("process", slog.Int("pid", 7))), slog.Group("", odd("in-line", slog.StringValue("x"))),
	} {
		addField(fields, "", a)
	}
	want := map[string]string{
		"SOCKWARDEN_RULE": "a\nPRIORITY=0", "SOCKWARDEN_FD_LIMIT": "1024", "SOCKWARDEN_TOOK_MS": "1s", "SOCKWARDEN_BY_PROCESS_PID": "7", "SOCKWARDEN_IN_LINE": "x",
	}
	if !maps.Equal(fields, want) {
		t.Errorf("%q, not %q", fields, want)
	}
}
