package sockdiag

import (
	"encoding/binary"
	"errors"
	"fmt"

	"sockwarden/collectors"
)

// msgLen is sizeof(struct inet_diag_msg).
const msgLen = 72

// Attributes of a record (include/uapi/linux/inet_diag.h).
const (
	attrInfo     = 2
	attrCong     = 4
	attrMemory   = 7
	attrV6Only   = 11
	attrULPInfo  = 19
	attrMark     = 15
	attrCgroupID = 21
	attrSockOpt  = 22

	ulpInfoMPTCP   = 3 // INET_ULP_INFO_MPTCP
	subflowToken   = 2 // MPTCP_SUBFLOW_ATTR_TOKEN_LOC: that of this end
	mptcpInfoToken = 12

	attrTypeMask = 0x3fff // without NLA_F_NESTED and NLA_F_NET_BYTEORDER
)

var errShort = errors.New("short inet_diag_msg")

// The fields that every record of inet_diag shows, and those that it shows to be none
// when no process holds the socket.
var (
	baseKnown = collectors.Fields(collectors.FieldProtocol, collectors.FieldFamily, collectors.FieldState,
		collectors.FieldLocalAddr, collectors.FieldPort, collectors.FieldRemoteAddr, collectors.FieldRemotePort,
		collectors.FieldCookie, collectors.FieldInode, collectors.FieldRecvQueue, collectors.FieldSendQueue,
		collectors.FieldEOFRead, collectors.FieldTimer, collectors.FieldTimerExpires, collectors.FieldRetransmits,
		collectors.FieldOwned, collectors.FieldOrphan, collectors.FieldUnaccepted)
	ownerlessKnown = collectors.Fields(collectors.FieldOwners, collectors.FieldPID, collectors.FieldProcess,
		collectors.FieldExe, collectors.FieldCmdline)
	// Of MPTCP the kernel has no such thing to show, and shows the memory of connections
	// where TCP has their queues (mptcp_diag_get_info in net/mptcp/mptcp_diag.c).
	noMPTCPKnown = collectors.Fields(collectors.FieldEOFRead, collectors.FieldTimer, collectors.FieldTimerExpires, collectors.FieldRetransmits)
	queueKnown   = collectors.Fields(collectors.FieldRecvQueue, collectors.FieldSendQueue)
	uidKnown     = collectors.Fields(collectors.FieldUID) // where the kernel shows the owner
	// What tcp_info adds, depending on its length and the state.
	segmentKnown    = collectors.Fields(collectors.FieldBackoff, collectors.FieldRTO, collectors.FieldUnacked, collectors.FieldLost)
	dataKnown       = collectors.Fields(collectors.FieldIdle, collectors.FieldIdleRecv, collectors.FieldIdleSend)
	rttKnown        = collectors.Fields(collectors.FieldRTT)
	receivedKnown   = collectors.Fields(collectors.FieldBytesReceived)
	sentKnown       = collectors.Fields(collectors.FieldBytesSent)
	congestionKnown = collectors.Fields(collectors.FieldCongestion)
	dropsKnown      = collectors.Fields(collectors.FieldDrops)
	markKnown       = collectors.Fields(collectors.FieldMark)
	sendBufferKnown = collectors.Fields(collectors.FieldSendBuffer)
	tokenKnown      = collectors.Fields(collectors.FieldMPTCPToken)
	ackKnown        = collectors.Fields(collectors.FieldAckIdle)
)

// decode fills s from an inet_diag_msg and its attributes. It trusts no length in b and
// skips attributes that it does not know.
func decode(b []byte, p collectors.Protocol, s *collectors.Socket) error {
	if len(b) < msgLen {
		return fmt.Errorf("%w: %d bytes", errShort, len(b))
	}
	*s = collectors.Socket{
		Known:        baseKnown,
		Protocol:     p,
		Family:       collectors.Family(b[0]),
		State:        collectors.State(b[1]),
		Timer:        collectors.Timer(b[2]),
		Retransmits:  b[3],
		LocalPort:    binary.BigEndian.Uint16(b[4:]),
		RemotePort:   binary.BigEndian.Uint16(b[6:]),
		IfIndex:      ne.Uint32(b[40:]),
		Cookie:       uint64(ne.Uint32(b[44:])) | uint64(ne.Uint32(b[48:]))<<32,
		TimerExpires: ne.Uint32(b[52:]),
		RecvQueue:    ne.Uint32(b[56:]),
		SendQueue:    ne.Uint32(b[60:]),
		UID:          ne.Uint32(b[64:]),
		Inode:        ne.Uint32(b[68:]),
	}
	switch s.Family {
	case collectors.IPv4:
		s.Local, s.Remote = mapped(b[8:12]), mapped(b[24:28])
	case collectors.IPv6:
		s.Local, s.Remote = collectors.Addr(b[8:24]), collectors.Addr(b[24:40])
	default:
		return fmt.Errorf("address family %d in an inet_diag_msg", b[0])
	}
	if s.State == collectors.BoundInactive {
		s.State = collectors.Close
	}
	if p == collectors.MPTCP {
		s.Known.Remove(noMPTCPKnown)
		if s.State != collectors.Listen {
			s.Known.Remove(queueKnown)
			s.RecvQueue, s.SendQueue = 0, 0
		}
	}
	if s.Inode == 0 {
		s.Known.Add(ownerlessKnown)
	}
	// For mini-sockets and orphans the kernel shows uid 0, whoever owned them.
	if s.Inode != 0 || collectors.Unaccepted(s) {
		s.Known.Add(uidKnown)
	}
	return decodeAttrs(b[msgLen:], s)
}

func mapped(b []byte) collectors.Addr {
	a := collectors.Addr{10: 0xff, 11: 0xff}
	copy(a[12:], b)
	return a
}

func decodeAttrs(b []byte, s *collectors.Socket) error {
	for typ, value := range attrs(b) {
		switch typ {
		case attrInfo:
			if s.Protocol == collectors.MPTCP {
				decodeMPTCP(value, s)
			} else {
				decodeInfo(value, s)
			}
		case attrCgroupID:
			if len(value) >= 8 {
				s.CgroupID = ne.Uint64(value)
			}
		case attrCong:
			s.Congestion = collectors.CongestionName{}
			copy(s.Congestion[:], value)
			s.Known.Add(congestionKnown)
		case attrMark:
			if len(value) >= 4 {
				s.Mark = ne.Uint32(value)
				s.Known.Add(markKnown)
			}
		case attrMemory:
			decodeMemory(value, s)
		case attrSockOpt:
			decodeOptions(value, s)
		case attrV6Only:
			s.V6Only = len(value) > 0 && value[0] != 0
		case attrULPInfo:
			for nested, of := range attrs(value) {
				if nested == ulpInfoMPTCP {
					s.Subflow = true
					decodeSubflow(of, s)
				}
			}
		case attrBroken:
			return fmt.Errorf("attribute of inet_diag_msg exceeds the message (%d bytes left)", len(value))
		}
	}
	return nil
}

// optFreeBind and optTransparent are bits in the first byte of struct inet_diag_sockopt. It has bit-fields, which
// big-endian machines count from the other end.
var optFreeBind, optTransparent = func() (uint8, uint8) {
	if ne.Uint16([]byte{1, 0}) == 1 {
		return 1 << 2, 1 << 5
	}
	return 1 << 5, 1 << 2
}()

func decodeOptions(b []byte, s *collectors.Socket) {
	if len(b) > 0 {
		s.Options = collectors.SockOptions{Shown: true, FreeBind: b[0]&optFreeBind != 0, Transparent: b[0]&optTransparent != 0}
	}
}

// Places in the array of INET_DIAG_SKMEMINFO (include/uapi/linux/sock_diag.h).
const (
	memorySendBuffer = 3
	memoryDrops      = 8 // Linux 4.7; of TCP it counts segments and lost connections alike
)

func decodeMemory(b []byte, s *collectors.Socket) {
	if len(b) >= 4*(memorySendBuffer+1) {
		s.SendBuffer = ne.Uint32(b[4*memorySendBuffer:])
		s.Known.Add(sendBufferKnown)
	}
	if s.Protocol == collectors.UDP && len(b) >= 4*(memoryDrops+1) {
		s.Drops = ne.Uint32(b[4*memoryDrops:])
		s.Known.Add(dropsKnown)
	}
}

// decodeSubflow reads which connection of MPTCP a socket of TCP belongs to.
func decodeSubflow(b []byte, s *collectors.Socket) {
	for typ, value := range attrs(b) {
		if typ == subflowToken && len(value) >= 4 {
			setToken(ne.Uint32(value), s)
		}
	}
}

// decodeMPTCP reads a struct mptcp_info (include/uapi/linux/mptcp.h) of any length. We do
// not read its time stamps (Linux 6.10): nobody has proven yet what they bound.
func decodeMPTCP(b []byte, s *collectors.Socket) {
	if len(b) >= mptcpInfoToken+4 {
		setToken(ne.Uint32(b[mptcpInfoToken:]), s)
	}
}

// setToken notes the token, which is 0 where there is no connection.
func setToken(token uint32, s *collectors.Socket) {
	if s.Token = token; token != 0 {
		s.Known.Add(tokenKnown)
	}
}

// attrBroken stands for an attribute whose length is impossible.
const attrBroken = attrTypeMask + 1

// attrs yields the type and value of each netlink attribute in b.
func attrs(b []byte) func(yield func(uint16, []byte) bool) {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= 4 {
			n := int(ne.Uint16(b))
			if n < 4 || n > len(b) {
				yield(attrBroken, b)
				return
			}
			if !yield(ne.Uint16(b[2:])&attrTypeMask, b[4:n]) {
				return
			}
			b = b[min((n+3)&^3, len(b)):]
		}
	}
}

// Offsets in struct tcp_info (include/uapi/linux/tcp.h), which has only ever grown at its
// end.
const (
	infoRetransmits   = 2
	infoBackoff       = 4
	infoOptions       = 5
	infoWindowScales  = 6
	infoRTO           = 8
	infoUnacked       = 24
	infoLost          = 32
	infoLastDataSent  = 44
	infoLastDataRecv  = 52
	infoLastAckRecv   = 56
	infoRTT           = 68
	infoCore          = 72 // everything above
	infoBytesAcked    = 120
	infoBytesReceived = 128
	infoSegsOut       = 136
	infoSegsIn        = 140
	infoNotSent       = 144
	infoBusyTime      = 168
	infoBytesSent     = 200
	infoTotalRTO      = 240
	infoRTOTime       = 244
)

// peerFinished are the states with a tcp_info in which the peer has sent its FIN.
const peerFinished = collectors.StateMask(1<<collectors.CloseWait | 1<<collectors.LastAck | 1<<collectors.Closing)

// decodeInfo reads a struct tcp_info of any length. What the kernel leaves at zero or as
// garbage in some states stays unknown.
func decodeInfo(b []byte, s *collectors.Socket) {
	if len(b) < infoCore || s.State == collectors.Listen || s.State == collectors.Close {
		return
	}
	i := &s.Info
	i.Len = uint16(min(len(b), 1<<16-1))
	i.Retransmits = b[infoRetransmits]
	i.Backoff = b[infoBackoff]
	i.Options = b[infoOptions]
	i.WindowScales = b[infoWindowScales]
	i.RTO = ne.Uint32(b[infoRTO:])
	i.Unacked = ne.Uint32(b[infoUnacked:])
	i.Lost = ne.Uint32(b[infoLost:])
	s.Known.Add(segmentKnown)
	decodeCounters(b, i)
	if s.State == collectors.SynSent || s.State == collectors.SynRecv {
		return // the stamps still count from boot, and there was no round trip
	}
	i.LastDataSent = ne.Uint32(b[infoLastDataSent:])
	i.LastDataRecv = ne.Uint32(b[infoLastDataRecv:])
	i.LastAckRecv = ne.Uint32(b[infoLastAckRecv:])
	i.RTT = ne.Uint32(b[infoRTT:])
	s.Known.Add(rttKnown)
	if len(b) >= infoBytesReceived+8 {
		i.BytesReceived = ne.Uint64(b[infoBytesReceived:])
		if peerFinished.Has(s.State) {
			i.BytesReceived -= min(i.BytesReceived, 1) // the kernel counts the FIN as a byte
		}
		s.Known.Add(receivedKnown)
	}
	if len(b) >= infoBytesSent+8 {
		i.BytesSent = ne.Uint64(b[infoBytesSent:])
		s.Known.Add(sentKnown)
	}
	if _, ok := collectors.IdleAck(s); ok {
		s.Known.Add(ackKnown)
	}
	if _, ok := collectors.IdleRecv(s); ok {
		s.Known.Add(dataKnown)
	}
}

// decodeCounters reads the members that later kernels added and that are valid in every
// state.
func decodeCounters(b []byte, i *collectors.TCPInfo) {
	if len(b) >= collectors.InfoBytesAcked {
		i.BytesAcked = ne.Uint64(b[infoBytesAcked:])
	}
	if len(b) >= collectors.InfoNotSent {
		i.NotSent = ne.Uint32(b[infoNotSent:])
	}
	if len(b) >= infoSegsIn+4 {
		i.SegsOut = ne.Uint32(b[infoSegsOut:])
		i.SegsIn = ne.Uint32(b[infoSegsIn:])
	}
	if len(b) >= infoBusyTime+8 {
		i.BusyTime = ne.Uint64(b[infoBusyTime:])
	}
	if len(b) >= collectors.InfoRTOTime {
		i.TotalRTO = ne.Uint16(b[infoTotalRTO:])
		i.RTOTime = ne.Uint32(b[infoRTOTime:])
	}
}
