package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sockwarden/collectors/socklab"
	"sockwarden/engine/catalog"
	"sockwarden/rules"
)

// TestLiveWaitsForRules: a command that acts at once does not take rules that somebody is
// still writing, and a dry one does not wait.
func TestLiveWaitsForRules(t *testing.T) {
	if apart(t) {
		return
	}
	ns := socklab.NewNamespace(t, "settle")
	path := filepath.Join(t.TempDir(), "rules.yaml")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("version: 1\nrules: [{name: r, when: port == 1, then: [destroy]}]\n"); err != nil {
		t.Fatal(err)
	}
	waits := map[string]*warden{}
	for name, args := range map[string][]string{
		"run": {"run", "--live", "--state-file", "none"}, "kill": {"kill", "-y", "port == 1"}, "watch": {"watch", "--live", "--state-file", "none"},
	} {
		waits[name] = startWarden(t, ns, itself(t, append(args, "--rules", path)...), nil)
	}
	for _, args := range [][]string{{"run", "--state-file", "none"}, {"kill", "-n", "port == 1"}, {"audit", "--state-file", "none"}} {
		w := startWarden(t, ns, itself(t, append(args, "--rules", path)...), nil)
		if code := w.exit(t); code != 0 || strings.Contains(w.tail(), "settle") {
			t.Errorf("%s: exit code %d\n%s", args, code, w.tail())
		}
	}
	// A watcher that ends with 3 would not be started again by systemd.
	codes := map[string]int{"run": exitRules, "kill": exitRules, "watch": exitFailed}
	for name, w := range waits {
		if code := w.exit(t); code != codes[name] || !strings.Contains(w.tail(), path+" is open for writing by another process") {
			t.Errorf("%s: exit code %d\n%s", name, code, w.tail())
		}
	}
}

// TestLoaderNeedsItsDirectory: a watcher takes the built-in rules only as long as there
// has never been a directory.
func TestLoaderNeedsItsDirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "sockwarden")
	registry, err := builtinActions(slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	o := rules.Options{Dir: dir, Catalog: catalog.New(registry)}
	first, _, err := rules.Load(o)
	if err != nil {
		t.Fatal(err)
	}
	load := loader(t.Context(), o, first)
	for range 2 {
		if p, _, err := load(); err != nil || !p.NoDefaultDir || p.Generation != first.Generation {
			t.Fatalf("not the built-in rules: %v", err)
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := load(); err == nil {
		t.Error("an empty directory is taken")
	}
	if err := replaceRules(filepath.Join(dir, "rules.yaml"), "version: 1\n", 0o600); err != nil {
		t.Fatal(err)
	}
	if p, _, err := load(); err != nil || p.NoDefaultDir {
		t.Errorf("the directory is not taken: %v", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if _, _, err := load(); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("without its directory: %v", err)
	}
}
