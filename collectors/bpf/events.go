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
	// States are those whose beginning is noted. TIME_WAIT and FIN_WAIT2 of
	// sockets without a process never begin here: for the program the socket is
	// closed then. Nor does SYN_RECV of connections that come in. With CLOSE,
	// every connection that ends leaves an entry.
	States collectors.StateMask
	// Capacity is how many sockets are remembered, at about 100 bytes of kernel
	// memory each; beyond it those that entered their state first tend to be
	// forgotten. 0 is DefaultCapacity.
	Capacity int
}

// DefaultCapacity is the Capacity of EventOptions that do not give one.
const DefaultCapacity = 1 << 16

// maxCapacity keeps the map below 2 GiB.
const maxCapacity = 1 << 24

// Events notes when TCP sockets enter states, in all network namespaces. Its
// methods are safe for concurrent use but for Close, which only Wait may meet;
// Wait is for one at a time.
type Events struct {
	maps     map[string]*ebpf.Map
	link     link.Link
	ring     *ringbuf.Reader
	record   ringbuf.Record
	attached float64
	closed   bool
}

// OpenEvents attaches a program to the transitions of all TCP sockets
// (tp_btf/inet_sock_set_state). It is ErrNotPermitted without CAP_BPF and
// CAP_PERFMON, and ErrNotSupported where the kernel cannot do it (before Linux
// 5.12, or without type information), or if this process is in a time namespace
// of its own, where CLOCK_MONOTONIC is not that of the program.
func OpenEvents(o EventOptions) (*Events, error) {
	if err := inInitial(host.InitialTime); err != nil && !errors.Is(err, fs.ErrNotExist) { // a kernel without them has one clock
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
	defer c.Close() // what is left of it
	e := &Events{maps: c.Maps}
	if err := e.open(c.Programs[program], o.States); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	c.Maps = nil
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

// SetStates changes the states whose beginning is noted from now on. Entries of
// states that are not wanted any more stay true until they go.
func (e *Events) SetStates(m collectors.StateMask) error {
	if err := e.maps[mapStates].Put(uint32(0), uint32(m)); err != nil {
		return fmt.Errorf("watch TCP states: choose them: %w", classify(err))
	}
	return nil
}

// Attached is the time when the program ran for every transition from then on,
// in seconds of CLOCK_MONOTONIC. A socket that entered its state before may have
// no Entry.
func (e *Events) Attached() float64 { return e.attached }

// Lookup returns the entry of the socket with that cookie (idiag_cookie). It is
// false if there is none: the socket entered its state before Attached, or the
// state was not wanted then, or the entry had to make room. Look up what was
// dumped before, and not the other way around: between an entry and a later
// record the socket may have left its state and come back to it.
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

// Wait blocks until a socket has entered a wanted state since the last call, and
// returns how many did; more may have than it counted. After Close, which ends
// it, it is os.ErrClosed.
func (e *Events) Wait() (n int, err error) {
	// At most once around the ring, or a busy machine would keep it here.
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

// Close detaches the program and ends Wait. Closing again does nothing.
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
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("stop watching TCP states: %w", err)
	}
	return nil
}

func seconds(ns uint64) float64 { return float64(ns) / 1e9 }
