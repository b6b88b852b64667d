package collectors

import (
	"maps"
	"math"
	"slices"
	"strconv"
)

// Helpers of the setters. Where a field reads several members, a setter changes those
// that no other known field has fixed; Set notices a contradiction.
// other field has said of them gives way; Set notices what does not fit.

// The parts of a record, created if missing.

func (r *Record) socket() *Socket {
	if r.Socket == nil {
		r.Socket = &Socket{}
	}
	return r.Socket
}

func (r *Record) info() *TCPInfo { return &r.socket().Info }

func (r *Record) facts() *Facts {
	if r.Facts == nil {
		r.Facts = &Facts{Age: NoAge()}
	}
	return r.Facts
}

func (r *Record) namespace() *Namespace {
	if r.Namespace == nil {
		r.Namespace = &Namespace{}
	}
	return r.Namespace
}

// owner is the process for which the record is evaluated, the first of the socket's
// owners.
func (r *Record) owner() *Owner {
	if r.Owner == nil {
		r.setOwners(max(1, float64(len(r.facts().Owners))))
	}
	return r.Owner
}

// maxOwners bounds how many owners a setter creates.
const maxOwners = 1 << 16

func (r *Record) setOwners(n float64) {
	if !(n >= 0 && n <= maxOwners) {
		return
	}
	f := r.facts()
	owners := make([]Owner, int(n))
	copy(owners, f.Owners)
	if f.Owners = owners; len(owners) == 0 {
		r.Owner = nil
		return
	}
	if r.Owner != nil {
		owners[0] = *r.Owner
	}
	r.Owner = &owners[0]
}

// index returns the index of the interface of that name, 0 for "".
func (n *Namespace) index(name string) uint32 {
	if name == "" {
		return 0
	}
	for i, other := range n.Interfaces {
		if other == name {
			return i
		}
	}
	if n.Interfaces == nil {
		n.Interfaces = map[uint32]string{}
	}
	next := uint32(1)
	if len(n.Interfaces) > 0 {
		next = slices.Max(slices.Collect(maps.Keys(n.Interfaces))) + 1
	}
	n.Interfaces[next] = name
	return next
}

func (o *Owner) setName(name string) {
	o.Name, o.Comm = name, name[:min(len(name), 15)] // TASK_COMM_LEN without its NUL
}

func listenerNamed(name string) *Owner {
	if name == "" {
		return nil
	}
	o := &Owner{Known: Fields(FieldProcess)}
	o.setName(name)
	return o
}

// peer is the process at the other end, made where it is missing and there is one.
func (r *Record) peer(some bool) *Owner {
	f := r.facts()
	switch {
	case len(f.Peers) > 0:
	case some:
		f.Peers = []Owner{{}}
	default:
		return &Owner{} // there is none
	}
	return &f.Peers[0]
}

func protocolNamed(name string) Protocol {
	p, _ := ProtocolNamed(name)
	return p
}

func (r *Record) setToken(text string) {
	token, _ := strconv.ParseUint(text, 16, 32)
	r.socket().Token = uint32(token)
}

func timerNamed(name string) Timer {
	for t := TimerNone; t <= TimerProbe; t++ {
		if t.String() == name {
			return t
		}
	}
	return TimerNone
}

// millis and micros convert to the kernel's units; Set notices times that do not fit.
func millis(seconds float64) uint32 { return uint32(math.Round(seconds * 1e3)) }
func micros(seconds float64) uint32 { return uint32(math.Round(seconds * 1e6)) }

// free reports whether none of the fields is known yet.
func (r *Record) free(fields ...Field) bool { return !r.Known.Meets(Fields(fields...)) }

func (r *Record) setFamily(name string) {
	s := r.socket()
	if s.Family = IPv6; name == "ipv4" {
		s.Family = IPv4
	}
}

// address sets the family that an address implies.
func (r *Record) address(a Addr) Addr {
	if s := r.socket(); s.Family == 0 {
		s.Family = IPv6
		if a.IsIPv4() {
			s.Family = IPv4
		}
	}
	return a
}

// setAge also sets a source of the age, unless one is known: every age has a source.
func (r *Record) setAge(v float64) {
	a := &r.facts().Age
	if a.Min = v; v > 0 && a.Source == AgeNone {
		a.Source = AgeObserved
	}
}

func (r *Record) setIdle(v float64) {
	if r.free(FieldIdleRecv) {
		r.setIdleRecv(v)
	}
	if r.free(FieldIdleSend) {
		r.setIdleSend(v)
	}
}

// setIdleRecv also says that data was received: without data there is no stamp.
func (r *Record) setIdleRecv(v float64) {
	r.info().LastDataRecv = millis(v)
	if !Received(r.Socket) && r.free(FieldBytesReceived) {
		r.info().BytesReceived = 1
	}
}

// setIdleSend also says that data was sent: without data there is no stamp.
func (r *Record) setIdleSend(v float64) {
	r.info().LastDataSent = millis(v)
	if r.Socket.Info.BytesSent == 0 && r.free(FieldBytesSent) {
		r.info().BytesSent = 1
	}
}

// someInode is the inode of a socket that is known only to have an owner.
const someInode = 1

func (r *Record) setOwned(v bool) {
	s := r.socket()
	switch {
	case !r.free(FieldInode):
	case !v:
		s.Inode = 0
	case s.Inode == 0:
		s.Inode = someInode
	}
}

func (r *Record) setOrphan(v bool) {
	r.setUnowned(v, Mask(FinWait1, FinWait2, Closing, LastAck), FinWait2)
}

func (r *Record) setUnaccepted(v bool) {
	r.setUnowned(v, Mask(Established, CloseWait), Established)
}

// setUnowned puts a socket without a process into one of some states, or out of them.
func (r *Record) setUnowned(v bool, states StateMask, usual State) {
	s := r.socket()
	if v && r.free(FieldProtocol) && !s.Protocol.Connects() {
		s.Protocol = TCP
	}
	if v && r.free(FieldState) && !states.Has(s.State) {
		s.State = usual
	}
	if v || states.Has(s.State) {
		r.setOwned(!v)
	}
}

func (r *Record) setEOFRead(v bool) {
	s := r.socket()
	if !v {
		if s.State == CloseWait && s.RecvQueue == 0 && r.free(FieldInode, FieldOwned) {
			s.Inode = 0
		}
		return
	}
	if r.free(FieldState) {
		s.State = CloseWait
	}
	if r.free(FieldRecvQueue) {
		s.RecvQueue = 0
	}
	r.setOwned(true)
}
