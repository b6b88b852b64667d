package sockdiag

import (
	"encoding/binary"
	"fmt"
	"slices"

	"sockwarden/collectors"
)

// Message types of NETLINK_SOCK_DIAG (include/uapi/linux/sock_diag.h).
const (
	typeGetSock  = 18 // TCPDIAG_GETSOCK, the interface before Linux 3.3
	typeByFamily = 20 // SOCK_DIAG_BY_FAMILY
	typeDestroy  = 21 // SOCK_DESTROY
)

// reqLen is sizeof(struct inet_diag_req_v2).
const reqLen = 56

// attrProtocol is INET_DIAG_REQ_PROTOCOL.
const attrProtocol = 3

// extInfo asks for INET_DIAG_INFO: bit (attribute - 1) of idiag_ext.
const extInfo = 1 << (attrInfo - 1)

// extMemory asks for INET_DIAG_SKMEMINFO.
const extMemory = 1 << (attrMemory - 1)

// extCong asks for INET_DIAG_CONG.
const extCong = 1 << (attrCong - 1)

// extensions lists the fields that the kernel shows only on request, with the extension and
// the protocol. Fields that it always shows have none.
var extensions = []struct {
	fields   collectors.FieldSet
	bit      uint8
	protocol collectors.Protocol
}{
	{collectors.InfoFields(), extInfo, collectors.TCP},
	{collectors.CongestionFields(), extCong, collectors.TCP},
	{collectors.MemoryFields(), extMemory, collectors.TCP},
	{collectors.MemoryFields(), extMemory, collectors.UDP},
	// struct mptcp_info has the token, without which no age is proven.
	{collectors.InfoFields(), extInfo, collectors.MPTCP},
}

// extensionsFor returns idiag_ext for the wanted fields. It asks for nothing else: each
// extension costs time, and tcp_info the lock of each socket.
func extensionsFor(wanted collectors.FieldSet, p collectors.Protocol) (ext uint8) {
	for _, e := range extensions {
		if e.protocol == p && e.fields.Meets(wanted) {
			ext |= e.bit
		}
	}
	return ext
}

var ne = binary.NativeEndian

// getSockLen is sizeof(struct inet_diag_req).
const getSockLen = 60

// walk is one request for a dump.
type walk struct {
	typ      uint16
	protocol collectors.Protocol
	family   collectors.Family // 0 for both
	body     []byte
}

func (w *walk) String() string {
	if w.family == 0 {
		return w.protocol.String()
	}
	return fmt.Sprintf("%s (family %d)", w.protocol, w.family)
}

// walks returns the requests that together answer a query about one protocol, nil if it
// wants no socket of that protocol.
func walks(q collectors.Query, p collectors.Protocol) []walk {
	states, clauses := q.For(p)
	if q.Plain {
		states, clauses = collectors.AllStates, nil
	}
	if states == 0 {
		return nil
	}
	ext := extensionsFor(q.Fields, p)
	code := bytecode(clauses)
	if len(clauses) > 0 && !slices.ContainsFunc(clauses, func(c collectors.Clause) bool { return c.Family != collectors.IPv6 }) {
		return []walk{{typeByFamily, p, collectors.IPv6, dumpRequest(collectors.IPv6, p, states, ext, code)}}
	}
	if p == collectors.TCP && !q.Plain {
		return []walk{{typeGetSock, p, 0, getSockRequest(states, ext, code)}}
	}
	return pair(p, states, ext, code)
}

// pair asks for one family after the other.
func pair(p collectors.Protocol, states collectors.StateMask, ext uint8, code []byte) []walk {
	return []walk{
		{typeByFamily, p, collectors.IPv4, dumpRequest(collectors.IPv4, p, states, ext, code)},
		{typeByFamily, p, collectors.IPv6, dumpRequest(collectors.IPv6, p, states, ext, code)},
	}
}

// dumpRequest returns a struct inet_diag_req_v2 that dumps the states of the mask. Dumps
// ignore its addresses and ports.
func dumpRequest(f collectors.Family, p collectors.Protocol, states collectors.StateMask, ext uint8, code []byte) []byte {
	b := make([]byte, reqLen)
	b[0] = byte(f)
	b[1] = protocolByte(p)
	b[2] = ext
	ne.PutUint32(b[4:], maskOf(states))
	return appendBytecode(appendProtocol(b, p), code)
}

// getSockRequest returns a struct inet_diag_req. The kernel treats it as a request
// without a family and shows the TCP sockets of both families in one walk through its
// table; with struct inet_diag_req_v2 each family takes a walk of its own.
func getSockRequest(states collectors.StateMask, ext uint8, code []byte) []byte {
	b := make([]byte, getSockLen)
	b[0] = byte(collectors.IPv4)
	b[3] = ext
	ne.PutUint32(b[52:], maskOf(states))
	return appendBytecode(b, code)
}

// everyExt asks for everything that the kernel can show of a protocol: rules will judge a
// single socket again, by whatever fields they read before.
func everyExt(p collectors.Protocol) (ext uint8) {
	for _, e := range extensions {
		if e.protocol == p {
			ext |= e.bit
		}
	}
	return ext
}

func maskOf(states collectors.StateMask) uint32 {
	if states.Has(collectors.Close) {
		// Since Linux 6.8 a dump must ask for bound TCP sockets as BOUND_INACTIVE.
		states |= 1 << collectors.BoundInactive
	}
	return uint32(states)
}

func appendBytecode(b, code []byte) []byte {
	if len(code) == 0 {
		return b
	}
	b = ne.AppendUint16(b, uint16(4+len(code)))
	b = ne.AppendUint16(b, attrBytecode)
	return append(b, code...)
}

// exactRequest returns a struct inet_diag_req_v2 that names s by tuple,
// interface and cookie. The kernel ignores idiag_states here.
func exactRequest(s *collectors.Socket) []byte {
	b := make([]byte, reqLen)
	b[0] = byte(s.Family)
	b[1] = protocolByte(s.Protocol)
	b[2] = everyExt(s.Protocol)
	ne.PutUint32(b[4:], ^uint32(0))
	binary.BigEndian.PutUint16(b[8:], s.LocalPort)
	binary.BigEndian.PutUint16(b[10:], s.RemotePort)
	putAddr(b[12:28], s.Family, s.Local)
	putAddr(b[28:44], s.Family, s.Remote)
	ne.PutUint32(b[44:], s.IfIndex)
	if s.Protocol == collectors.MPTCP {
		// The kernel takes this for a token, and looks at nothing else (mptcp_diag_dump_one).
		ne.PutUint32(b[48:], s.Token)
		return appendProtocol(b, s.Protocol)
	}
	ne.PutUint32(b[48:], uint32(s.Cookie))
	ne.PutUint32(b[52:], uint32(s.Cookie>>32))
	return b
}

// protocolByte is sdiag_protocol. A protocol that it has no room for is in an attribute of
// its own since Linux 5.9; an older kernel finds nothing for 0, where the lowest 8 bits of
// MPTCP would be TCP.
func protocolByte(p collectors.Protocol) byte {
	if p > 0xff {
		return 0
	}
	return byte(p)
}

// appendProtocol adds that attribute (INET_DIAG_REQ_PROTOCOL).
func appendProtocol(b []byte, p collectors.Protocol) []byte {
	if p <= 0xff {
		return b
	}
	b = ne.AppendUint16(b, 8)
	b = ne.AppendUint16(b, attrProtocol)
	return ne.AppendUint32(b, uint32(p))
}

// swapEnds exchanges the two ends in an exact request. An exact look-up of a UDP socket
// expects them swapped, "for historical reasons" (udp_dump_one in net/ipv4/udp_diag.c);
// destroying it does not.
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
