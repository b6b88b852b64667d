package recording

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"sockwarden/collectors"
	"sockwarden/collectors/host"
	"sockwarden/engine/memory"
	"sockwarden/engine/world"
)

// World is the host of a recording, at its moment and, if somebody waits or advances it,
// later: then everything is still as it was, only older.
type World struct {
	rec   *Recording
	clock clock
	index index
}

// index finds what is in a recording.
type index struct {
	byPlace  [][]*Socket           // by namespace
	byCookie map[socketKey]*Socket // TCP and MPTCP number together
	byEnds   map[tuple][]*Socket   // connections of TCP
	byInode  map[uint32]*Socket
	held     map[int][]world.Held // by process
	groups   map[uint64]string    // paths of control groups by their ids
	process  map[processKey]int
}

type socketKey struct {
	place  int
	cookie uint64
}

type tuple struct {
	place            int
	local, remote    collectors.Addr
	port, remotePort uint16
}

// errElsewhere says that a recording cannot be opened as a namespace.
var errElsewhere = errors.New("a recording has no network namespaces to go to")

// World returns the host of the recording. Its answers are those of the time, as far as
// they were recorded.
func (r *Recording) World() *World {
	w := &World{rec: r, clock: clock{now: r.Time, mono: r.Mono - r.Looking, looked: r.Mono}}
	w.index = r.index()
	return w
}

func (r *Recording) index() index {
	x := index{
		byPlace: make([][]*Socket, len(r.Namespaces)), byCookie: make(map[socketKey]*Socket, len(r.Sockets)), byEnds: map[tuple][]*Socket{},
		byInode: make(map[uint32]*Socket, len(r.Sockets)), held: map[int][]world.Held{}, groups: map[uint64]string{}, process: map[processKey]int{},
	}
	for i := range r.Processes {
		x.process[processKey{r.Processes[i].PID, r.Processes[i].StartTime}] = i
	}
	for i := range r.Sockets {
		s := &r.Sockets[i]
		x.byPlace[s.Place] = append(x.byPlace[s.Place], s)
		if s.Cookie != 0 {
			x.byCookie[socketKey{s.Place, s.Cookie}] = s
		}
		if s.Protocol == collectors.TCP && s.RemotePort != 0 {
			t := tuple{s.Place, s.Local, s.Remote, s.LocalPort, s.RemotePort}
			x.byEnds[t] = append(x.byEnds[t], s)
		}
		if other := x.byInode[s.Inode]; s.Inode != 0 && (other == nil || len(other.Holders) == 0) {
			x.byInode[s.Inode] = s // the listeners of MPTCP have one below them with their inode
		}
		for _, h := range s.Holders {
			x.held[h.Process] = append(x.held[h.Process], world.Held{Inode: s.Inode, FD: h.FD})
		}
		if s.Cgroup != "" && s.CgroupID != 0 {
			x.groups[s.CgroupID] = s.Cgroup
		}
	}
	return x
}

// Advance lets time pass.
func (w *World) Advance(d time.Duration) { w.clock.advance(d) }

// Now is the time of day there.
func (w *World) Now() time.Time { return w.clock.Now() }

// Door is the world for an engine.
func (w *World) Door() *world.World {
	r := w.rec
	door := &world.World{
		Clock: &w.clock, Host: world.Host{Name: r.Host, Kernel: host.ParseKernel(r.Kernel), Workers: 1}, Self: w.self(),
		Namespaces: namespaces{w}, Network: network{w}, Counter: counter{w}, Sockets: sockets{w}, Owners: owners{w}, Processes: processes{w},
		Containers: containers{w}, Cgroups: w.cgroups,
	}
	if r.Events {
		door.OpenEvents = func() (world.Events, error) { return events{w}, nil }
	}
	for _, text := range r.Gaps {
		door.Gaps = append(door.Gaps, errors.New(text))
	}
	if r.Partial {
		door.Notes = append(door.Notes, fmt.Errorf("the recording has only what was selected (%s): groups, shares and the breaker count nothing else", r.Selection))
	}
	for _, text := range r.Notes {
		door.Notes = append(door.Notes, errors.New(text))
	}
	return door
}

// String says what it is a recording of.
func (w *World) String() string {
	r := w.rec
	text := fmt.Sprintf("%s, Linux %s, %s", r.Host, r.Kernel, r.Time.Format(time.RFC3339))
	if r.Anonymised {
		text += ", with other names and addresses"
	}
	return text
}

// HasCmdline reports whether the arguments of processes were recorded.
func (w *World) HasCmdline() bool { return w.rec.Cmdline }

// Source is the collector that shows the sockets.
func (w *World) Source() collectors.Plugin {
	return collectors.Plugin{
		Name: "recording", Summary: "the sockets of a recording", Actionable: true,
		New: func(int) collectors.Collector { return nil }, // the door knows them
	}
}

// Remembered is what was known from earlier looks.
func (w *World) Remembered() (*memory.StateFile, *memory.Memory) {
	return memory.Recalled(&w.rec.Memory, w.rec.Mono)
}

// cgroups returns the paths of control groups by their ids.
func (w *World) cgroups(ids []uint64) (map[uint64]string, error) {
	found := map[uint64]string{}
	for _, id := range ids {
		if path, ok := w.index.groups[id]; ok {
			found[id] = path
		}
	}
	return found, nil
}

// self is who made the recording.
func (w *World) self() world.Self {
	const login = 1 // of the user who did; who it is does not matter
	s := world.Self{PID: w.rec.Self.PID, Ancestors: map[int]bool{}, Login: login}
	for _, pid := range w.rec.Self.Ancestors {
		s.Ancestors[pid] = true
	}
	s.Session, _ = w.rec.Self.peers() // Read has checked them
	s.LoginOf = func(o *collectors.Owner) (uint32, error) {
		if i, ok := w.index.process[processKey{o.PID, o.StartTime}]; ok && w.rec.Processes[i].Login {
			return login, nil
		}
		return login + 1, nil
	}
	return s
}

// clock stands at the moment of the recording, until somebody waits.
type clock struct {
	mu     sync.Mutex
	now    time.Time
	mono   float64 // CLOCK_MONOTONIC, seconds: when the look began
	looked float64 // and when it ended, 0 once it is over
	passed time.Duration
}

// Now is the time of day.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now.Add(c.passed)
}

// Mono is CLOCK_MONOTONIC in seconds.
func (c *clock) Mono() float64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mono + c.passed.Seconds()
}

// After lets the time pass at once: whoever waits has nothing else to do.
func (c *clock) After(d time.Duration) <-chan time.Time {
	c.advance(d)
	at := make(chan time.Time, 1)
	at <- c.Now()
	return at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.passed += max(0, d)
}

// read notes that the sockets were read: the look is over.
func (c *clock) read() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.looked > 0 {
		c.mono, c.looked = c.looked, 0
	}
}

// later is the time that has passed since the recording.
func (c *clock) later() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.passed
}

type events struct{ w *World }

// SetStates notes nothing: what the kernel told is in the recording.
func (events) SetStates(collectors.StateMask) error { return nil }

// Since is when a socket entered its state.
func (e events) Since(s *collectors.Socket) (float64, bool) {
	one := e.w.find(s)
	if one == nil || one.Since == 0 || one.State != s.State {
		return 0, false
	}
	return one.Since, true
}

// Wait returns at once: nothing will happen.
func (events) Wait() error { return os.ErrClosed }

// Lost is 0: what is not in a recording is not known.
func (events) Lost() (uint64, error) { return 0, nil }

// Close does nothing.
func (events) Close() error { return nil }
