package world

import (
	"context"
	"iter"
	"os"

	"sockwarden/collectors"
	"sockwarden/collectors/host"
	"sockwarden/collectors/procfs"
)

// World is everything that the engine asks of the host.
type World struct {
	Clock
	Host       Host
	Self       Self
	Namespaces Namespaces
	Network    Network
	Counter    Counter
	Sockets    Sockets
	Owners     Owners
	Processes  Processes
	Containers Containers
	// OpenEvents asks the kernel to note when sockets enter their states; nil where
	// there is nothing to ask.
	OpenEvents func() (Events, error)
	// Dead finds the processes that hold what the kernel has ended, most first, and counts
	// those that could not be examined; nil where there is nothing to ask.
	Dead func(context.Context) (all []Dead, unseen int, err error)
}

// Host is what does not change while the program runs.
type Host struct {
	Name string
	// Kernel is the version of the running kernel.
	Kernel host.Kernel
	// Workers is how many goroutines may look at a time.
	Workers int
}

// Namespace is a network namespace of the host.
type Namespace struct {
	collectors.Namespace
	// Open opens it; nil for the one of this process.
	Open func() (*os.File, error)
	// PID is a process in it, 0 if none is known.
	PID int
}

// Namespaces lists network namespaces.
type Namespaces interface {
	// Select returns those that netns of a rules file means: host, all, the name of one, or
	// of a container.
	Select(ctx context.Context, name string) ([]Namespace, error)
	// All returns every namespace that is known of.
	All() ([]Namespace, error)
}

// Network tells facts about one namespace.
type Network interface {
	// Interfaces returns the names of its interfaces by their index.
	Interfaces(ns *Namespace) (map[uint32]string, error)
	// Initial reports whether it is the one that the machine started with, or cannot
	// be told from it.
	Initial(ns *Namespace) bool
	// Ports returns its ephemeral ports, and how listeners meet VRFs.
	Ports(ns *Namespace) (Ports, error)
}

// Counter counts sockets, by /proc/net/sockstat.
type Counter interface {
	// Count counts those of a namespace from inside.
	Count(ns *Namespace) (Counts, error)
	// CountBeside counts them by a process that is in it, which needs no privileges.
	CountBeside(ns *Namespace) (Counts, error)
}

// Counts is how many sockets there are.
type Counts = procfs.Counts

// Ports is how a namespace hands out ports and connections.
type Ports struct {
	Low, High uint16 // ephemeral; 0 if that is not known
	// AcceptsVRF says that a listener on all devices takes what comes in through any
	// VRF (net.ipv4.tcp_l3mdev_accept).
	AcceptsVRF bool
}

// Sockets shows the sockets of a namespace.
type Sockets interface {
	// Collect streams what one source shows.
	Collect(ctx context.Context, ns *Namespace, source collectors.Plugin, q collectors.Query) iter.Seq2[*collectors.Socket, error]
	// LookUp looks sockets up by their cookies; of each it returns the record or an
	// error. The last error is about all of them.
	LookUp(ctx context.Context, ns *Namespace, socks []*collectors.Socket) ([]collectors.Socket, []error, error)
}

// Owners finds out which processes hold sockets.
type Owners interface {
	// Holders finds the owners of sockets, named by their inodes.
	Holders(ctx context.Context, inodes map[uint32]bool) (Ownership, error)
	// Coverage says which processes cannot be seen at all.
	Coverage() Coverage
	// Unexamined says of processes that could not be examined which, why and what helps.
	Unexamined(all []Unreadable) string
}

// Repeating is Owners that want to know that they will be asked again and again.
type Repeating interface{ Repeats() }

// Coverage says which processes /proc does not show.
type Coverage = procfs.Coverage

// Unreadable is a process of which nobody could tell what it holds.
type Unreadable = procfs.Unreadable

// Held is a descriptor of a process that is a socket.
type Held = procfs.Held

// Processes tells about single processes.
type Processes interface {
	// Glance returns a look at processes that reads each of them once.
	Glance() Glance
	// Unit returns the processes of the unit of another one.
	Unit(o *collectors.Owner) ([]collectors.Owner, error)
	// Sockets returns the sockets that a process holds.
	Sockets(o *collectors.Owner) ([]Held, error)
	// Borrow calls visit with each of these sockets, for as long as it takes.
	Borrow(o *collectors.Owner, held []Held, visit func(Borrowed) error) error
	// Asleep names the processes that sleep while they keep the lock of a socket.
	Asleep(ctx context.Context) string
	// Hanging says which processes could not be read, as that does not return.
	Hanging() []error
}

// Glance confirms who holds sockets, at this very moment.
type Glance interface {
	// Holders returns those of the owners that still hold the socket, and of how many
	// that could not be told.
	Holders(owners []collectors.Owner, inode uint32) (now []collectors.Owner, unseen int)
	// StillHeld reports whether each of the owners does, by what Holders has opened.
	StillHeld(owners []collectors.Owner, inode uint32) bool
	Close()
}

// Borrowed is a socket of another process.
type Borrowed interface {
	Inode() uint32
	// State returns its TCP state and, of a listener, how many wait to be accepted.
	State() (state collectors.State, queued int, err error)
	// Cookie returns its cookie.
	Cookie() (uint64, error)
	// Namespace calls use with the namespace that it is in, also if nothing but
	// sockets keeps that alive.
	Namespace(use func(*Namespace) error) error
}

// Events tells when sockets entered their states. Wait is for another goroutine.
type Events interface {
	// SetStates says of which states it is noted.
	SetStates(states collectors.StateMask) error
	// Since returns since when (CLOCK_MONOTONIC, seconds) a socket is in its state,
	// false if that was not noted of this very connection.
	Since(s *collectors.Socket) (float64, bool)
	// Wait returns when sockets have entered a state that is noted, with
	// os.ErrClosed after Close.
	Wait() error
	Close() error
}
