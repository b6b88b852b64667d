package bpf

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"

	"sockwarden/collectors"
	"sockwarden/collectors/host"
)

// EventOptions says what Events keeps.
type EventOptions struct {
	// States are the states to note when a socket enters them. Sockets without a process
	// never enter TIME_WAIT or FIN_WAIT2 here: the program sees them as closed. Incoming
	// connections never enter SYN_RECV here. With CLOSE, every connection that ends
	// leaves an entry.
	States collectors.StateMask
	// Capacity is how many sockets to remember, at about 100 bytes of kernel memory each.
	// Beyond it, those that entered their state first tend to go first. 0 means
	// DefaultCapacity.
	Capacity int
}

// DefaultCapacity is the Capacity where EventOptions name none.
const DefaultCapacity = 1 << 16

// maxCapacity keeps the map below 2 GiB.
const maxCapacity = 1 << 24

// Events notes when TCP sockets enter states, in all network namespaces. Only one caller
// may Wait at a time. All other methods but Close are safe for concurrent use; Close may
// run only beside Wait.
type Events struct {
	maps     map[string]*ebpf.Map
	program  *ebpf.Program
	capacity uint64
	lost     losses
	link     link.Link
	ring     *ringbuf.Reader
	record   ringbuf.Record
	attached float64
	closed   bool
}

// OpenEvents attaches a program to the state transitions of all TCP sockets
// (tp_btf/inet_sock_set_state). The error is ErrNotPermitted without CAP_BPF and
// CAP_PERFMON. It is ErrNotSupported where the kernel cannot do it (before Linux 5.12, or
// without type information), and if this process is in its own time namespace, where
// CLOCK_MONOTONIC differs from the program's clock.
func OpenEvents(o EventOptions) (*Events, error) {
	if err := inInitial(host.InitialTime); err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without time namespaces has one clock
		return nil, fmt.Errorf("watch TCP states: %w", err)
	}
	if o.Capacity == 0 {
		o.Capacity = DefaultCapacity
	}
	if o.Capacity < 0 || o.Capacity > maxCapacity {
		return nil, fmt.Errorf("watch TCP states: remember %d sockets: not between 1 and %d", o.Capacity, maxCapacity)
	}
	c, err := load("inet_sock_set_state", ebpf.AttachTraceRawTp, eventsProgram, eventMaps(o.Capacity))
	if err != nil {
		return nil, fmt.Errorf("watch TCP states: load the program: %w", err)
	}
	defer c.Close() // all but what Events took
	e := &Events{maps: c.Maps, program: c.Programs[program], capacity: uint64(o.Capacity)}
	if err := e.open(e.program, o.States); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	c.Maps, c.Programs = nil, nil
	return e, nil
}

func (e *Events) open(p *ebpf.Program, states collectors.StateMask) (err error) {
	if err := e.SetStates(states); err != nil {
		return err
	}
	if e.ring, err = ringbuf.NewReader(e.maps[mapRing]); err != nil {
		return fmt.Errorf("watch TCP states: open the ring: %w", classify(err))
	}
	if e.link, err = link.AttachTracing(link.TracingOptions{Program: p, AttachType: ebpf.AttachTraceRawTp}); err != nil {
		return fmt.Errorf("watch TCP states: attach the program: %w", classify(err))
	}
	e.attached = host.Monotonic()
	return nil
}

// SetStates changes which states are noted from now on. Entries of states that are no
// longer wanted stay true until they go.
func (e *Events) SetStates(m collectors.StateMask) error {
	if err := e.maps[mapStates].Put(uint32(0), uint32(m)); err != nil {
		return fmt.Errorf("watch TCP states: choose them: %w", classify(err))
	}
	return nil
}

// Attached is the time from which the program saw every transition, in seconds of
// CLOCK_MONOTONIC. A socket that entered its state before may have no Entry.
func (e *Events) Attached() float64 { return e.attached }

// Lookup returns the entry of the socket with that cookie (idiag_cookie). It is false if
// there is none: the socket entered its state before Attached, or the state was not
// wanted then, or the entry had to make room. Dump first, then look up. The other way
// round, the socket may have left its state and come back to it between the entry and the
// record.
func (e *Events) Lookup(cookie uint64) (Entry, bool, error) {
	var v [valueSize]byte
	err := e.maps[mapEntries].Lookup(cookie, &v)
	if errors.Is(err, ebpf.ErrKeyNotExist) {
		return Entry{}, false, nil
	}
	if err != nil {
		return Entry{}, false, fmt.Errorf("look up when socket %x entered its state: %w", cookie, err)
	}
	entry, ok := decodeEntry(cookie, &v)
	return entry, ok, nil
}

// Wait blocks until a socket has entered a wanted state since the last call, and returns
// how many did; there may be more than it counted. Close ends it: the error is then
// os.ErrClosed.
func (e *Events) Wait() (n int, err error) {
	// At most once around the ring: a busy machine could keep it here for ever.
	for n = 0; n < ringSize/ringRecord; {
		if err := e.ring.ReadInto(&e.record); err != nil {
			return n, fmt.Errorf("wait for TCP states: %w", err)
		}
		n++
		if e.record.Remaining == 0 {
			break
		}
	}
	return n, nil
}

// Close detaches the program and ends Wait. Further calls do nothing.
func (e *Events) Close() error {
	if e.closed {
		return nil
	}
	e.closed = true
	var errs []error
	if e.link != nil {
		errs = append(errs, e.link.Close())
	}
	if e.ring != nil {
		errs = append(errs, e.ring.Close())
	}
	for _, m := range e.maps {
		errs = append(errs, m.Close())
	}
	errs = append(errs, e.program.Close())
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stop watching TCP states: %w", err)
	}
	return nil
}

func seconds(ns uint64) float64 { return float64(ns) / 1e9 }
