package rules

import (
	"errors"
	"fmt"
	"net/netip"

	"sockwarden/collectors"
)

// UsualPort is the local port of a socket of a test that does not say.
const UsualPort = 10_000

// The usual addresses of sockets of tests (RFC 5737, RFC 3849).
var (
	usualLocal4, usualRemote4 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("198.51.100.1")
	usualLocal6, usualRemote6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:1::1")
)

var errOwnedByNone = errors.New("it has a process, and something says that nobody has it")

// Record is the socket with what the test says of it, and what follows from that, as if it
// were seen now. A port of the peer that is not given is left to the caller, and so are
// cookies and inodes: 1 stands for any.
func (s *TestSocket) Record() (collectors.Record, error) {
	r := collectors.Record{Socket: &collectors.Socket{}, Facts: &collectors.Facts{Age: collectors.NoAge()}, Namespace: &collectors.Namespace{Name: "host"}}
	for _, d := range collectors.AllFields() {
		v, ok := s.Given[d.Field]
		if !ok || d.Field == collectors.FieldCgroup && s.unowned() {
			continue
		}
		if err := collectors.Set(d.Field, &r, v); err != nil {
			return r, fmt.Errorf("%w", err)
		}
	}
	for i, o := range s.Owners {
		if err := addOwner(&r, o, i); err != nil {
			return r, err
		}
	}
	if group, ok := s.Given[collectors.FieldCgroup].(string); ok && s.unowned() {
		r.Facts.Cgroup = group
		r.Facts.Known.Add(collectors.Fields(collectors.FieldCgroup))
	}
	s.ends(&r)
	if err := s.ownership(&r); err != nil {
		return r, err
	}
	r.Socket.Subflow = s.Subflow
	return r, nil
}

// addOwner adds one of several processes.
func addOwner(r *collectors.Record, o TestOwner, i int) error {
	one := collectors.Record{}
	for _, d := range collectors.AllFields() {
		if v, ok := o[d.Field]; ok {
			if err := collectors.Set(d.Field, &one, v); err != nil {
				return fmt.Errorf("process %d: %w", i+1, err)
			}
		}
	}
	if one.Owner == nil {
		return fmt.Errorf("process %d: it needs a pid, or a name: write {pid: 7, process: app}", i+1) //nolint:err113 // for people
	}
	r.Facts.Owners = append(r.Facts.Owners, *one.Owner)
	r.Owner = &r.Facts.Owners[0]
	return nil
}

// ends gives the socket the usual ends where the test says none.
func (s *TestSocket) ends(r *collectors.Record) {
	sock := r.Socket
	if sock.Protocol == 0 {
		sock.Protocol = collectors.TCP
	}
	listens := sock.State == collectors.Listen
	six := sock.Family == collectors.IPv6
	if sock.Family == 0 {
		sock.Family = collectors.IPv4
	}
	local, remote := usualLocal4, usualRemote4
	if six {
		local, remote = usualLocal6, usualRemote6
	}
	if _, ok := s.Given[collectors.FieldLocalAddr]; !ok {
		sock.Local = collectors.AddrFrom(local)
		if listens {
			sock.Local = collectors.Addr{}
			if !six {
				sock.Local = collectors.AddrFrom(netip.IPv4Unspecified())
			}
		}
	}
	if _, ok := s.Given[collectors.FieldRemoteAddr]; !ok {
		sock.Remote = collectors.AddrFrom(remote)
		if listens || s.unconnected(sock) {
			sock.Remote = collectors.Addr{}
			if !six {
				sock.Remote = collectors.AddrFrom(netip.IPv4Unspecified())
			}
		}
	}
	if _, ok := s.Given[collectors.FieldPort]; !ok {
		sock.LocalPort = UsualPort
	}
	sock.Known.Add(collectors.Fields(collectors.FieldProtocol, collectors.FieldFamily, collectors.FieldState, collectors.FieldLocalAddr, collectors.FieldPort,
		collectors.FieldRemoteAddr, collectors.FieldRemotePort, collectors.FieldCookie))
}

// unconnected reports whether a socket has no peer.
func (s *TestSocket) unconnected(sock *collectors.Socket) bool { return sock.State == collectors.Close }

// Peerless reports whether a socket of a test has no peer.
func (s *TestSocket) Peerless(sock *collectors.Socket) bool {
	return sock.State == collectors.Listen || s.unconnected(sock)
}

// unowned reports whether the test says that nobody has the socket.
func (s *TestSocket) unowned() bool {
	is := func(f collectors.Field, value any) bool { return s.Given[f] == value }
	return is(collectors.FieldOwned, false) || is(collectors.FieldOrphan, true) || is(collectors.FieldUnaccepted, true) ||
		is(collectors.FieldPID, 0.0) || is(collectors.FieldProcess, "") || is(collectors.FieldOwners, 0.0)
}

// notOwned are the fields of a process that are known where there is none.
var notOwned = collectors.Fields(collectors.FieldOwners, collectors.FieldPID, collectors.FieldProcess, collectors.FieldExe, collectors.FieldCmdline)

// ownership settles what follows from who has the socket.
func (s *TestSocket) ownership(r *collectors.Record) error {
	sock := r.Socket
	ownerOf := collectors.Fields(collectors.FieldInode, collectors.FieldOwned, collectors.FieldOrphan, collectors.FieldUnaccepted)
	owners := len(r.Facts.Owners) > 0
	none := s.unowned() || !owners && (sock.State == collectors.TimeWait || sock.State == collectors.SynRecv)
	some := owners || s.Given[collectors.FieldOwned] == true || s.Given[collectors.FieldEOFRead] == true
	switch {
	case none && some, owners && sock.State == collectors.TimeWait:
		return errOwnedByNone
	case none:
		sock.Inode, r.Owner = 0, nil
		sock.Known.Add(ownerOf.Or(notOwned))
	default:
		sock.Inode = 1
	}
	if some {
		sock.Known.Add(ownerOf)
	}
	for i := range r.Facts.Owners {
		nameOwner(&r.Facts.Owners[i])
	}
	if owners {
		r.Facts.Known.Add(collectors.Fields(collectors.FieldOwners))
	}
	if s.Hidden {
		r.Facts.OthersHidden = true
		r.Facts.Known.Remove(collectors.Fields(collectors.FieldOwners))
	}
	if sock.State != collectors.CloseWait || sock.Known.Has(collectors.FieldRecvQueue) && (sock.RecvQueue > 0 || none || some) {
		sock.Known.Add(collectors.Fields(collectors.FieldEOFRead))
	}
	return nil
}

// nameOwner settles what follows from what is said of a process.
func nameOwner(o *collectors.Owner) {
	if o.Name != "" && o.Comm == "" {
		o.Comm = o.Name[:min(len(o.Name), 15)] // TASK_COMM_LEN without its NUL
	}
	// A process has a number, which the caller chooses if the test does not.
	o.Known.Add(collectors.Fields(collectors.FieldPID))
}
