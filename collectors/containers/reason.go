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

// Why nothing is known about a container. The wrapping error names the place and the
// cure.
var (
	// ErrNoEngine: there is no trace of an engine in the known places.
	ErrNoEngine = errors.New("no container engine was found")
	// ErrNoSuch: an engine answered, and does not have the container.
	ErrNoSuch = errors.New("no engine has such a container")
	// ErrUnreadable: the answer is not valid, is too long, or is about another container.
	ErrUnreadable = errors.New("the answer makes no sense")
	// ErrUntrusted: somebody other than root and the running user could have written it.
	ErrUntrusted = errors.New("what it says is not trusted")
	// ErrNotPermitted: this process may not ask.
	ErrNotPermitted = errors.New("asking the container engine takes root, or its group")
	// ErrSilent: the engine, or its disk, does not answer in time. The search goes on in
	// the background, and a later Lookup has the answer.
	ErrSilent = errors.New("the container engine does not answer")
	// ErrNotSupported: the container exists, but its engine cannot do that.
	ErrNotSupported = errors.New("its engine cannot do that")
	// ErrNoID: this is not the id of a container.
	ErrNoID = errors.New("is not the id of a container: 64 hex digits")
)

// ranks orders the reasons of several places: the one that says least comes first.
var ranks = []error{ErrNoEngine, ErrNoSuch, ErrUnreadable, ErrUntrusted, ErrNotPermitted, ErrSilent}

func rank(err error) int {
	return slices.IndexFunc(ranks, func(r error) bool { return errors.Is(err, r) })
}

// worse returns whichever reason says more. nil says nothing.
func worse(a, b error) error {
	if a == nil || b != nil && rank(b) > rank(a) {
		return b
	}
	return a
}

// reasonOf says what an error on a socket or a file means.
func reasonOf(err error) error {
	var timeout net.Error
	switch {
	case rank(err) >= 0:
		return nil // it has a reason already
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR), errors.Is(err, unix.ECONNREFUSED):
		return ErrNoEngine
	case errors.Is(err, fs.ErrPermission):
		return ErrNotPermitted
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, unix.EAGAIN):
		return ErrSilent
	case errors.Is(err, unix.ECONNRESET), errors.Is(err, unix.EPIPE), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF),
		errors.Is(err, context.Canceled):
		return ErrSilent // the engine hung up, or we stopped waiting
	}
	return ErrUnreadable
}
