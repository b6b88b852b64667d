package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/procnet"
	"sockwarden/collectors/sockdiag"
	"sockwarden/engine/catalog"
	"sockwarden/engine/watch"
	"sockwarden/rules"
)

// TestPolled: where inotify instances or watches are used up, a watcher says so once,
// reads its rules every few seconds, and is told of changes again when there are some.
func TestPolled(t *testing.T) {
	for limit, says := range map[string]string{
		"max_inotify_instances": "no inotify instance is left", "max_inotify_watches": "no inotify watch is left",
	} {
		t.Run(limit, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			path := filepath.Join(dir, "rules.yaml")
			write := func(name string) {
				t.Helper()
				must(t, "write", os.WriteFile(path, []byte("version: 1\nrules: [{name: "+name+", when: port == 1, then: [log]}]\n"), 0o600))
			}
			write("one")
			cmd, err := childCommand(orders{Life: "poller", Rules: path, Limit: "/proc/sys/user/" + limit})
			must(t, "child", err)
			// The limits are per user namespace.
			cmd.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  unix.CLONE_NEWUSER,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
			}
			c := runCommand(t, cmd, "")
			var seen []string
			await := func(words string) {
				t.Helper()
				for {
					line, err := c.out.ReadString('\n')
					if err != nil {
						t.Fatalf("%s is not said (%v):\n%s", words, err, strings.Join(seen, ""))
					}
					if seen = append(seen, line); strings.Contains(line, words) {
						return
					}
				}
			}
			await(says)
			await("msg=\"watching dry\"")
			write("two")
			await("added=[two]")
			if _, err := c.in.Write([]byte("raise\n")); err != nil {
				t.Fatal(err)
			}
			await("changes of rules are told again")
			write("three")
			await("added=[three]")
			if n := strings.Count(strings.Join(seen, ""), "level=WARN"); n != 1 {
				t.Errorf("%d warnings:\n%s", n, strings.Join(seen, ""))
			}
		})
	}
}

// pollerLife is a watcher that may use no inotify until it reads a line.
func pollerLife(o orders) error {
	if err := os.WriteFile(o.Limit, []byte("0"), 0); err != nil {
		return fmt.Errorf("a limit of a user namespace: %w", err)
	}
	log := slog.New(slog.NewTextHandler(os.Stdout, nil))
	all, err := actions.NewRegistry(realActions(log)...)
	if err != nil {
		return err
	}
	e, err := New(Options{Sources: []collectors.Plugin{sockdiag.Plugin(), procnet.Plugin()}, Logger: log})
	if err != nil {
		return err
	}
	defer e.Close()
	fmt.Println("READY")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	raised := make(chan error, 1)
	go func() {
		in := bufio.NewReader(os.Stdin)
		if _, err := in.ReadString('\n'); err == nil {
			raised <- os.WriteFile(o.Limit, []byte("100"), 0)
		}
		_ = waitForEOF()
		cancel()
	}()
	opts := rules.Options{Paths: []string{o.Rules}, Catalog: catalog.New(all)}
	err = e.Watch(ctx, watch.Options{Interval: time.Hour, Load: func() (*rules.Program, []string, error) { return rules.Load(opts) }})
	select {
	case failed := <-raised:
		return errors.Join(err, failed)
	default:
		return err
	}
}
