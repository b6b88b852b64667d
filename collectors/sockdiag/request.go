package sockdiag

import (
	"encoding/binary"

	"sockwarden/collectors"
)

// Message types of NETLINK_SOCK_DIAG (include/uapi/linux/sock_diag.h).
const (
	typeByFamily = 20 // SOCK_DIAG_BY_FAMILY
	typeDestroy  = 21 // SOCK_DESTROY
)

// reqLen is sizeof(struct inet_diag_req_v2).
const reqLen = 56

// extInfo asks for INET_DIAG_INFO: bit (attribute - 1) of idiag_ext.
const extInfo = 1 << (attrInfo - 1)

var ne = binary.NativeEndian

// dumpRequest returns a struct inet_diag_req_v2 that dumps the states of the
// mask. Addresses and ports in it are ignored by dumps.
func dumpRequest(f collectors.Family, p collectors.Protocol, states collectors.StateMask, info bool) []byte {
	b := make([]byte, reqLen)
	b[0] = byte(f)
	b[1] = byte(p)
	if info {
		b[2] = extInfo
	}
	if states.Has(collectors.Close) {
		// Since Linux 6.8 bound TCP sockets are asked for as BOUND_INACTIVE.
		states |= 1 << collectors.BoundInactive
	}
	ne.PutUint32(b[4:], uint32(states))
	return b
}

// exactRequest returns a struct inet_diag_req_v2 that names s by tuple,
// interface and cookie. The kernel ignores idiag_states here.
func exactRequest(s *collectors.Socket) []byte {
	b := make([]byte, reqLen)
	b[0] = byte(s.Family)
	b[1] = byte(s.Protocol)
	b[2] = extInfo
	ne.PutUint32(b[4:], ^uint32(0))
	binary.BigEndian.PutUint16(b[8:], s.LocalPort)
	binary.BigEndian.PutUint16(b[10:], s.RemotePort)
	putAddr(b[12:28], s.Family, s.Local)
	putAddr(b[28:44], s.Family, s.Remote)
	ne.PutUint32(b[44:], s.IfIndex)
	ne.PutUint32(b[48:], uint32(s.Cookie))
	ne.PutUint32(b[52:], uint32(s.Cookie>>32))
	return b
}

// swapEnds exchanges the two ends in an exact request. Exact gets of UDP
// sockets expect them the other way round, "for historical reasons"
// (udp_dump_one in net/ipv4/udp_diag.c); destroying one does not.
func swapEnds(b []byte) {
	var port [2]byte
	copy(port[:], b[8:10])
	copy(b[8:10], b[10:12])
	copy(b[10:12], port[:])
	var addr [16]byte
	copy(addr[:], b[12:28])
	copy(b[12:28], b[28:44])
	copy(b[28:44], addr[:])
}

func putAddr(b []byte, f collectors.Family, a collectors.Addr) {
	if f == collectors.IPv4 {
		copy(b, a[12:])
		return
	}
	copy(b, a[:])
}
