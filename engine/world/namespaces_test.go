package world

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"sockwarden/collectors/containers"
	"sockwarden/collectors/netns"
)

// The number in a path means the process that had it first.
func TestPathOfAnotherProcess(t *testing.T) {
	k := newKernelNamespaces(engines{containers.New(containers.Options{})}, nil)
	path := netns.OfProcess(os.Getpid())
	for range 2 {
		if found, err := k.Select(t.Context(), path); err != nil || len(found) != 1 || !found[0].IsOwn() {
			t.Fatalf("%+v, %v", found, err)
		}
	}
	k.leading.since[os.Getpid()]-- // as if it had been another process
	for _, path := range []string{path, fmt.Sprintf("/proc/%d/fd/0", os.Getpid())} {
		if found, err := k.Select(t.Context(), path); found != nil || !isMissing(err) {
			t.Errorf("%s: %+v, %v", path, found, err)
		}
	}
	if found, err := k.Select(t.Context(), "/proc/self/ns/net"); err != nil || len(found) != 1 {
		t.Errorf("ourselves: %+v, %v", found, err)
	}
}

// Where there is no engine, patterns match only names of namespaces, and never ours.
func TestPatternWithoutEngine(t *testing.T) {
	k := newKernelNamespaces(engines{containers.New(containers.Options{})}, nil)
	for _, pattern := range []string{"no-such-*", "hos?"} {
		if found, err := k.Select(t.Context(), pattern); len(found) > 0 || !isMissing(err) {
			t.Errorf("%s: %+v, %v", pattern, found, err)
		}
	}
}

func isMissing(err error) bool {
	_, ok := errors.AsType[*netns.MissingError](err)
	return ok
}
