package world

import (
	"context"
	"iter"
	"net/netip"
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
	// Cgroups returns the paths of control groups by their ids, those that can be told; nil
	// where there is nothing to ask.
	Cgroups func(ids []uint64) (map[uint64]string, error)
	// OpenEvents makes the kernel note when sockets enter their states; nil if it cannot.
	OpenEvents func() (Events, error)
	// Dead finds the processes that hold what the kernel has ended, those with most
	// first, and counts those that could not be examined; nil if there is nobody to ask.
	Dead func(context.Context) (all []Dead, unseen int, err error)
	// Gaps are why a world that is no host does not know everything, and Notes what else it
	// has to say: every look says so.
	Gaps, Notes []error
	// Invented knows what nobody can find out in a world that somebody made up; nil for
	// every other one.
	Invented Invented
}

// Invented is the mind of a world that somebody made up: nothing there leaves evidence.
type Invented interface {
	// Age returns for how long a socket has been in its state, and what proves it.
	Age(s *collectors.Socket) collectors.Age
	// Stalled returns for how long what the socket has sent has been waiting.
	Stalled(s *collectors.Socket) collectors.Age
	// Tell completes the facts about a socket, and takes back those that are not to be
	// known.
	Tell(s *collectors.Socket, f *collectors.Facts)
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
	// Open opens it; nil for our own.
	Open func() (*os.File, error)
	// PID is a process in it, 0 if none is known.
	PID int
	// closed says why it cannot be entered, nil if it can, or nobody has tried.
	closed error
}

// Namespaces lists network namespaces.
type Namespaces interface {
	// Select returns the namespaces that netns in a rules file means: host, all, or the
	// name of a namespace or container.
	Select(ctx context.Context, name string) ([]Namespace, error)
	// All returns every known namespace.
	All() ([]Namespace, error)
	// Every is All that fails if there may be others, of processes that cannot be examined.
	Every() ([]Namespace, error)
}

// Network answers questions about one namespace.
type Network interface {
	// Interfaces returns the names of its interfaces, by index.
	Interfaces(ns *Namespace) (map[uint32]string, error)
	// Initial reports whether it is the one that the machine started with, or cannot
	// be told from it.
	Initial(ns *Namespace) bool
	// Ports returns its ephemeral ports, and how listeners treat VRFs.
	Ports(ns *Namespace) (Ports, error)
	// Addresses returns the addresses that it takes for its own.
	Addresses(ns *Namespace) (Addresses, error)
}

// Addresses are the addresses of a namespace.
type Addresses struct {
	// Holds reports whether an address is one of them; of a link-local one of IPv6, whether
	// that is on the device of that index, 0 for any.
	Holds func(a netip.Addr, device uint32) bool
	// BindsAny4 and BindsAny6 say that every program may bind to addresses that are not
	// there (net.ipv4.ip_nonlocal_bind, net.ipv6.ip_nonlocal_bind).
	BindsAny4, BindsAny6 bool
}

// Counter counts sockets with /proc/net/sockstat.
type Counter interface {
	// Count counts those of each of these namespaces from inside.
	Count(all []*Namespace) ([]Counts, []error)
	// CountBeside counts them by a process that is in it, which needs no privileges.
	CountBeside(ns *Namespace) (Counts, error)
}

// Counts is how many sockets there are.
type Counts = procfs.Counts

// Ports is how a namespace assigns ports and connections.
type Ports struct {
	Low, High uint16 // ephemeral; 0 if unknown
	// AcceptsVRF says that a listener on all devices takes what comes in through any VRF
	// (net.ipv4.tcp_l3mdev_accept).
	AcceptsVRF bool
}

// Sockets shows the sockets of a namespace.
type Sockets interface {
	// Collect streams what one source shows.
	Collect(ctx context.Context, ns *Namespace, source collectors.Plugin, q collectors.Query) iter.Seq2[*collectors.Socket, error]
	// LookUp looks up sockets by their cookies and returns a record or an error for each.
	// The last error is about all of them.
	LookUp(ctx context.Context, ns *Namespace, socks []*collectors.Socket) ([]collectors.Socket, []error, error)
	// OtherEnds looks in a namespace for the other ends of TCP connections, which may be in
	// any. Of each it returns the record, or an error, which is ErrGone where there is none.
	// The last error is about all of them.
	OtherEnds(ctx context.Context, ns *Namespace, socks []*collectors.Socket) ([]collectors.Socket, []error, error)
}

// Owners finds out which processes hold sockets.
type Owners interface {
	// Holders finds the owners of sockets, given by inode.
	Holders(ctx context.Context, inodes map[uint32]bool) (Ownership, error)
	// Coverage says which processes are altogether invisible.
	Coverage() Coverage
	// Unexamined says which processes could not be examined, why, and what helps.
	Unexamined(all []Unreadable) string
}

// Repeating is implemented by Owners that benefit from knowing that calls will repeat.
type Repeating interface{ Repeats() }

// Coverage says which processes /proc does not show.
type Coverage = procfs.Coverage

// Unreadable is a process whose sockets nobody could read.
type Unreadable = procfs.Unreadable

// Held is a descriptor of a process that is a socket.
type Held = procfs.Held

// Processes answers questions about single processes.
type Processes interface {
	// Glance starts a look at processes that reads each of them once.
	Glance() Glance
	// Together returns the processes that end with the container of another one, or with
	// its unit outside of containers.
	Together(o *collectors.Owner) ([]collectors.Owner, error)
	// Sockets returns the sockets that a process holds.
	Sockets(o *collectors.Owner) ([]Held, error)
	// Borrow calls visit with each of these sockets, which is valid for that call.
	Borrow(o *collectors.Owner, held []Held, visit func(Borrowed) error) error
	// Asleep names the processes that sleep while they keep the lock of a socket.
	Asleep(ctx context.Context) string
	// Proxies returns what every docker-proxy that can be seen was told to do.
	Proxies(ctx context.Context) []collectors.Proxy
	// Hanging says which processes could not be read because the read does not return.
	Hanging() []error
}

// Glance confirms, at this very moment, who holds sockets.
type Glance interface {
	// Holders returns the owners that still hold the socket, and counts those that it
	// could not check.
	Holders(owners []collectors.Owner, inode uint32) (now []collectors.Owner, unseen int)
	// StillHeld reports whether each of the owners still does, through what Holders has
	// opened.
	StillHeld(owners []collectors.Owner, inode uint32) bool
	Close()
}

// Borrowed is a socket of another process.
type Borrowed interface {
	Inode() uint32
	// State returns its TCP state and, for a listener, how many connections wait to be
	// accepted.
	State() (state collectors.State, queued int, err error)
	// Cookie returns its cookie.
	Cookie() (uint64, error)
	// Namespace calls use with its namespace, even if only sockets keep that alive.
	Namespace(use func(*Namespace) error) error
}

// Events tells when sockets entered their states. Another goroutine may Wait.
type Events interface {
	// SetStates says which states to note.
	SetStates(states collectors.StateMask) error
	// Since returns since when (CLOCK_MONOTONIC, seconds) a socket has been in its state;
	// false if no note is about this very connection.
	Since(s *collectors.Socket) (float64, bool)
	// Lost returns how many transitions were lost so far: notes that had no room, or had to
	// make room for others, and what the kernel did not see.
	Lost() (uint64, error)
	// Wait returns when sockets have entered one of these states; after Close it returns
	// os.ErrClosed.
	Wait() error
	Close() error
}
