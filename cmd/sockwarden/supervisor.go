package main

import (
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"sockwarden/engine/watch"
)

const (
	// unheard is how many messages to systemd may wait before we drop one: it never reads
	// any while it hangs, and then asks for none.
	unheard = 64
	// lastWords is how long the end of a watcher waits for systemd to take its messages.
	lastWords = time.Second
)

// systemdUnit is the watcher's line to the systemd that has started it (sd_notify(3)).
type systemdUnit struct {
	log      *slog.Logger
	patience time.Duration
	messages chan string
	sent     chan struct{}
}

// supervisor returns the systemd that has started us and waits for messages, and a
// function that ends the connection; nil if there is none.
func supervisor(log *slog.Logger) (watch.Supervisor, func()) {
	if os.Getenv("NOTIFY_SOCKET") == "" {
		return nil, func() {}
	}
	patience, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.Warn("systemd's watchdog is not fed", "error", err)
	}
	u := &systemdUnit{log: log, patience: patience, messages: make(chan string, unheard), sent: make(chan struct{})}
	go u.send()
	return u, u.close
}

// Patience is WatchdogSec of the unit.
func (u *systemdUnit) Patience() time.Duration { return u.patience }

// Tell passes a message to the goroutine that sends it, so that a systemd that hangs does
// not delay a cycle.
func (u *systemdUnit) Tell(p watch.Phase, status string) {
	select {
	case u.messages <- notification(p, status):
	default:
		u.log.Debug("systemd does not listen, a message is dropped")
	}
}

// notification is what systemd is told.
func notification(p watch.Phase, status string) string {
	state := map[watch.Phase]string{
		watch.Ready: daemon.SdNotifyReady, watch.Reloading: daemon.SdNotifyReloading, watch.Alive: daemon.SdNotifyWatchdog, watch.Stopping: daemon.SdNotifyStopping,
	}[p]
	if p == watch.Reloading {
		state += "\n" + strings.TrimSpace(daemon.SdNotifyMonotonicUsec())
	}
	return state + "\nSTATUS=" + strings.Join(strings.Fields(status), " ")
}

func (u *systemdUnit) send() {
	defer close(u.sent)
	failed := false
	for m := range u.messages {
		if _, err := daemon.SdNotify(false, m); err != nil && !failed {
			failed = true
			u.log.Warn("systemd cannot be told how the watcher is", "error", err)
		}
	}
}

func (u *systemdUnit) close() {
	close(u.messages)
	select {
	case <-u.sent:
	case <-time.After(lastWords):
	}
}
