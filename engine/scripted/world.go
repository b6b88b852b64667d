package scripted

import (
	"cmp"
	"context"
	"iter"
	"net/netip"
	"slices"
	"time"

	"sockwarden/collectors"
	"sockwarden/collectors/host"
	"sockwarden/engine/world"
)

// Host is the name of the machine.
const Host = "scripted"

// World is a machine.
type World struct {
	clock      clock
	sockets    []*Socket
	namespaces []world.Namespace
	next       uint64 // next cookie and inode
	// Outcomes are the outcomes of actions, by name; an action without any succeeds. The
	// last outcome repeats.
	Outcomes map[string][]Outcome
	// Comes gives the outcome of an effect before Outcomes does; false leaves it to them.
	// It may be nil.
	Comes func(Effect) (Outcome, bool)
	// Done is what was done, in order.
	Done []Effect
	// Fails says, before each look at a network namespace, why the look fails, nil if it
	// does not. If Fails is nil, none fails.
	Fails func(netns string, q collectors.Query) error
	// Hidden are the PIDs of processes whose sockets nobody can see.
	Hidden map[int]bool
	// Left are the addresses that the machine no longer has.
	Left []netip.Addr
	// Unlisted says that there may be network namespaces that cannot be seen.
	Unlisted bool
	// Containers are the facts about containers, by the control groups of their
	// processes; Asked records the questions about them, in order.
	Containers map[string]world.Container
	Asked      [][]string
	// Behind are the names of containers by an address and port in them.
	Behind map[netip.AddrPort]string
	// Walks is how often somebody asked for all processes of a unit or container.
	Walks int
}

// New returns a machine without sockets, at that time of day, one day after booting.
func New(now time.Time) *World {
	const day = 24 * time.Hour
	return &World{
		clock: clock{now: now, mono: day}, Outcomes: map[string][]Outcome{}, Hidden: map[int]bool{},
		namespaces: []world.Namespace{{Namespace: collectors.Namespace{Inode: 1, Name: world.HostName}}},
	}
}

// Socket is a socket of the world.
type Socket struct {
	collectors.Socket
	Owners []collectors.Owner
	since  float64 // CLOCK_MONOTONIC
	bare   bool    // only the descriptors of its owners are left
	// show makes the record of this moment of the one that was put there; nil lets stamps
	// grow as they do in silence.
	show func(*collectors.Socket)
}

// Put adds a socket as it is, but for its cookie, its namespace and the inode of one that
// somebody has; show makes each look's record of it. Its owners are as they are, too.
func (w *World) Put(s collectors.Socket, show func(*collectors.Socket), owners ...collectors.Owner) *Socket {
	w.next++
	s.Cookie, s.NetNS = w.next, cmp.Or(s.NetNS, w.namespaces[0].Inode)
	if s.Inode != 0 {
		s.Inode = uint32(w.next)
	}
	one := &Socket{Socket: s, Owners: owners, since: w.clock.Mono(), show: show}
	w.sockets = append(w.sockets, one)
	return one
}

// Add adds a socket that has been in its state for some time. Missing members are as in
// an ordinary TCP connection between 192.0.2.1 and 198.51.100.1.
func (w *World) Add(s collectors.Socket, age time.Duration, owners ...collectors.Owner) *Socket {
	w.next++
	const firstPort = 40_000
	s.Protocol, s.Family = cmp.Or(s.Protocol, collectors.TCP), cmp.Or(s.Family, collectors.IPv4)
	s.Cookie, s.NetNS = w.next, cmp.Or(s.NetNS, w.namespaces[0].Inode)
	if s.Local.IsZero() {
		s.Local = collectors.AddrFrom(netip.MustParseAddr("192.0.2.1"))
	}
	if s.Remote.IsZero() {
		s.Remote = collectors.AddrFrom(netip.MustParseAddr("198.51.100.1"))
	}
	s.LocalPort, s.RemotePort = cmp.Or(s.LocalPort, 80), cmp.Or(s.RemotePort, firstPort+uint16(w.next))
	if len(owners) > 0 {
		s.Inode = uint32(w.next)
	}
	for i := range owners {
		describe(&owners[i])
	}
	s.Known = s.Known.Or(recorded)
	// No data moved since it entered its state.
	ms := uint32(age.Milliseconds())
	s.Info.LastDataSent, s.Info.LastDataRecv, s.Info.LastAckRecv = ms, ms, ms
	s.Info.BytesSent, s.Info.BytesReceived = max(1, s.Info.BytesSent), max(1, s.Info.BytesReceived)
	one := &Socket{Socket: s, Owners: owners, since: w.clock.Mono() - age.Seconds()}
	w.sockets = append(w.sockets, one)
	return one
}

// recorded are the fields of a kernel record.
var recorded = collectors.Fields(collectors.FieldProtocol, collectors.FieldFamily, collectors.FieldState, collectors.FieldLocalAddr,
	collectors.FieldPort, collectors.FieldRemoteAddr, collectors.FieldRemotePort, collectors.FieldCookie, collectors.FieldInode,
	collectors.FieldIdle, collectors.FieldIdleRecv, collectors.FieldIdleSend, collectors.FieldAckIdle, collectors.FieldRecvQueue,
	collectors.FieldSendQueue, collectors.FieldTimer, collectors.FieldRetransmits, collectors.FieldRTO, collectors.FieldUnaccepted,
	collectors.FieldOwned, collectors.FieldOrphan, collectors.FieldUID)

// describe fills in what is known about every process.
func describe(o *collectors.Owner) {
	o.StartTime, o.Comm = cmp.Or(o.StartTime, uint64(o.PID)), cmp.Or(o.Comm, o.Name)
	o.Known = o.Known.Or(collectors.Fields(collectors.FieldPID, collectors.FieldProcess, collectors.FieldOwned, collectors.FieldOrphan,
		collectors.FieldCgroup, collectors.FieldUnit, collectors.FieldContainerID))
	if o.Container == "" {
		o.Known.Add(collectors.ContainerFields())
	}
	if o.FDLimit > 0 {
		o.Known = o.Known.Or(collectors.Fields(collectors.FieldFDs, collectors.FieldFDLimit))
	}
}

// Enter puts a socket into another state, now.
func (w *World) Enter(s *Socket, state collectors.State) { s.State, s.since = state, w.clock.Mono() }

// Remove ends a socket.
func (w *World) Remove(s *Socket) {
	w.sockets = slices.DeleteFunc(w.sockets, func(o *Socket) bool { return o == s })
}

// There reports whether the kernel still has the socket.
func (w *World) There(s *Socket) bool { return slices.Contains(w.sockets, s) && !s.bare }

// Runs reports whether a process still has any socket.
func (w *World) Runs(pid int) bool {
	return slices.ContainsFunc(w.sockets, func(s *Socket) bool {
		return slices.ContainsFunc(s.Owners, func(o collectors.Owner) bool { return o.PID == pid })
	})
}

// Advance lets time pass. Stamps of sockets grow with it.
func (w *World) Advance(d time.Duration) { w.clock.advance(d) }

// Now is the time of day.
func (w *World) Now() time.Time { return w.clock.now }

// World is the door for an engine.
func (w *World) World() *world.World {
	return &world.World{
		Clock: &w.clock, Host: world.Host{Name: Host, Kernel: host.ParseKernel("99.0"), Workers: 1}, Self: world.Self{PID: -1, Login: noLogin},
		Namespaces: namespaces{w}, Network: network{w}, Counter: counter{w}, Sockets: sockets{w}, Owners: owners{w}, Processes: processes{w}, Containers: containers{w},
		OpenEvents: func() (world.Events, error) { return events{w}, nil },
	}
}

// noLogin is the login uid of a process without a login.
const noLogin = 1<<32 - 1

// Source is the collector that shows the sockets.
func (w *World) Source() collectors.Plugin {
	return collectors.Plugin{Name: "scripted", Summary: "the sockets of a script", Actionable: true, New: func(int) collectors.Collector { return source{w} }}
}

// shown is a socket as a look at this moment shows it.
func (w *World) shown(s *Socket) collectors.Socket {
	now := s.Socket
	if s.show != nil {
		s.show(&now)
		return now
	}
	ms := uint32(max(0, w.clock.Mono()-s.since) * 1000)
	now.Info.LastDataSent, now.Info.LastDataRecv, now.Info.LastAckRecv = ms, ms, ms
	return now
}

type source struct{ w *World }

func (s source) Collect(_ context.Context, q collectors.Query) iter.Seq2[*collectors.Socket, error] {
	return func(yield func(*collectors.Socket, error) bool) {
		for _, one := range slices.Clone(s.w.sockets) {
			if one.bare {
				continue
			}
			now := s.w.shown(one)
			if k := collectors.KeyOf(&now); q.Covers(&k) && !yield(&now, nil) {
				return
			}
		}
	}
}

type sockets struct{ w *World }

func (s sockets) Collect(ctx context.Context, ns *world.Namespace, from collectors.Plugin, q collectors.Query) iter.Seq2[*collectors.Socket, error] {
	return func(yield func(*collectors.Socket, error) bool) {
		if s.w.Fails != nil {
			if err := s.w.Fails(ns.Name, q); err != nil {
				yield(nil, err)
				return
			}
		}
		for one, err := range from.New(-1).Collect(ctx, q) {
			if err == nil && one.NetNS != ns.Inode {
				continue
			}
			if !yield(one, err) {
				return
			}
		}
	}
}

func (s sockets) OtherEnds(_ context.Context, ns *world.Namespace, socks []*collectors.Socket) ([]collectors.Socket, []error, error) {
	if s.w.Fails != nil {
		if err := s.w.Fails(ns.Name, collectors.Query{}); err != nil {
			return nil, nil, err
		}
	}
	found, errs := make([]collectors.Socket, len(socks)), make([]error, len(socks))
	for i, want := range socks {
		errs[i] = collectors.ErrGone
		for _, one := range s.w.sockets {
			if one.NetNS == ns.Inode && one.State != collectors.Listen && !one.bare && one.ends(want) {
				found[i], errs[i] = s.w.shown(one), nil
			}
		}
	}
	return found, errs, nil
}

// ends reports whether two sockets are the ends of one connection.
func (s *Socket) ends(other *collectors.Socket) bool {
	return s.Local == other.Remote && s.Remote == other.Local && s.LocalPort == other.RemotePort && s.RemotePort == other.LocalPort
}

func (s sockets) LookUp(_ context.Context, _ *world.Namespace, socks []*collectors.Socket) ([]collectors.Socket, []error, error) {
	found, errs := make([]collectors.Socket, len(socks)), make([]error, len(socks))
	for i, want := range socks {
		errs[i] = collectors.ErrGone
		for _, one := range s.w.sockets {
			if one.Cookie == want.Cookie && !one.bare {
				found[i], errs[i] = s.w.shown(one), nil
			}
		}
	}
	return found, errs, nil
}
