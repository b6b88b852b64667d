package containers

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Why nothing is known of a container. Which place it was, and what to do, is in
// the error around it.
var (
	// ErrNoEngine: no engine of this host has left a trace where it was looked for.
	ErrNoEngine = errors.New("no container engine was found")
	// ErrNoSuch: an engine answered, and does not have the container.
	ErrNoSuch = errors.New("no engine has such a container")
	// ErrUnreadable: the answer is not one, too long, or of another container.
	ErrUnreadable = errors.New("the answer makes no sense")
	// ErrUntrusted: somebody else than root and the running user could have written it.
	ErrUntrusted = errors.New("what it says is not trusted")
	// ErrNotPermitted: this process may not ask.
	ErrNotPermitted = errors.New("asking the container engine takes root, or its group")
	// ErrSilent: the engine, or its disk, does not answer in time. Looking goes on
	// beside, and a later Lookup knows.
	ErrSilent = errors.New("the container engine does not answer")
	// ErrNotSupported: there is a container, and its engine cannot do that.
	ErrNotSupported = errors.New("its engine cannot do that")
	// ErrNoID: that is no id of a container.
	ErrNoID = errors.New("is no id of a container: 64 hex digits")
)

// ranks are the reasons of several places, the one that says least first.
var ranks = []error{ErrNoEngine, ErrNoSuch, ErrUnreadable, ErrUntrusted, ErrNotPermitted, ErrSilent}

func rank(err error) int {
	return slices.IndexFunc(ranks, func(r error) bool { return errors.Is(err, r) })
}

// worse returns the one of two reasons that says more. nil says nothing.
func worse(a, b error) error {
	if a == nil || b != nil && rank(b) > rank(a) {
		return b
	}
	return a
}

// reasonOf says what an error of a socket or a file means.
func reasonOf(err error) error {
	var timeout net.Error
	switch {
	case rank(err) >= 0:
		return nil // it is said already
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ECONNREFUSED):
		return ErrNoEngine
	case errors.Is(err, fs.ErrPermission):
		return ErrNotPermitted
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, unix.EAGAIN):
		return ErrSilent
	case errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, context.Canceled):
		return ErrSilent // it ended, or we do
	}
	return ErrUnreadable
}
