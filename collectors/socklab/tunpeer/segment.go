package tunpeer

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// The flags of a segment.
const (
	FIN = 1 << iota
	SYN
	RST
	PSH
	ACK
)

// Segment is a TCP segment. Source and destination are as in the packet.
type Segment struct {
	From, To netip.AddrPort
	Seq, Ack uint32
	Flags    uint8
	Window   uint16
	Options  []byte // as sent, padded to words
	Data     []byte
}

// Len is how many sequence numbers the segment takes.
func (s *Segment) Len() uint32 {
	n := uint32(len(s.Data))
	if s.Flags&SYN != 0 {
		n++
	}
	if s.Flags&FIN != 0 {
		n++
	}
	return n
}

const (
	v4Header, v6Header, tcpHeader = 20, 40, 20

	protocolTCP = 6
)

// packet returns the segment as an IP packet.
func (s *Segment) packet() []byte {
	opts := append([]byte{}, s.Options...)
	for len(opts)%4 != 0 {
		opts = append(opts, 1) // NOP
	}
	t := make([]byte, tcpHeader, tcpHeader+len(opts)+len(s.Data))
	be := binary.BigEndian
	be.PutUint16(t[0:], s.From.Port())
	be.PutUint16(t[2:], s.To.Port())
	be.PutUint32(t[4:], s.Seq)
	be.PutUint32(t[8:], s.Ack)
	t[12] = byte((tcpHeader + len(opts)) / 4 << 4)
	t[13] = s.Flags
	be.PutUint16(t[14:], s.Window)
	t = append(append(t, opts...), s.Data...)
	pseudo := append(s.From.Addr().AsSlice(), s.To.Addr().AsSlice()...)
	pseudo = be.AppendUint32(be.AppendUint32(pseudo, uint32(len(t))), protocolTCP)
	be.PutUint16(t[16:], checksum(append(pseudo, t...)))
	if s.From.Addr().Is4() {
		h := make([]byte, v4Header, v4Header+len(t))
		h[0], h[8], h[9] = 0x45, 64, protocolTCP
		be.PutUint16(h[2:], uint16(v4Header+len(t)))
		copy(h[12:], s.From.Addr().AsSlice())
		copy(h[16:], s.To.Addr().AsSlice())
		be.PutUint16(h[10:], checksum(h))
		return append(h, t...)
	}
	h := make([]byte, v6Header, v6Header+len(t))
	h[0], h[6], h[7] = 0x60, protocolTCP, 64
	be.PutUint16(h[4:], uint16(len(t)))
	copy(h[8:], s.From.Addr().AsSlice())
	copy(h[24:], s.To.Addr().AsSlice())
	return append(h, t...)
}

var errNoTCP = errors.New("no TCP segment")

// parse reads an IP packet from the kernel, which has no extension headers.
func parse(b []byte) (Segment, error) {
	var s Segment
	if len(b) == 0 {
		return s, errNoTCP
	}
	var src, dst netip.Addr
	switch {
	case b[0]>>4 == 4 && len(b) >= v4Header && b[9] == protocolTCP:
		src, dst = netip.AddrFrom4([4]byte(b[12:16])), netip.AddrFrom4([4]byte(b[16:20]))
		b = b[min(int(b[0]&15)*4, len(b)):]
	case b[0]>>4 == 6 && len(b) >= v6Header && b[6] == protocolTCP:
		src, dst = netip.AddrFrom16([16]byte(b[8:24])), netip.AddrFrom16([16]byte(b[24:40]))
		b = b[v6Header:]
	default:
		return s, errNoTCP
	}
	if len(b) < tcpHeader || int(b[12]>>4)*4 > len(b) {
		return s, errNoTCP
	}
	be := binary.BigEndian
	head := int(b[12]>>4) * 4
	return Segment{
		From: netip.AddrPortFrom(src, be.Uint16(b)), To: netip.AddrPortFrom(dst, be.Uint16(b[2:])),
		Seq: be.Uint32(b[4:]), Ack: be.Uint32(b[8:]), Flags: b[13], Window: be.Uint16(b[14:]),
		Options: append([]byte{}, b[min(tcpHeader, head):head]...), Data: append([]byte{}, b[head:]...),
	}, nil
}

// checksum is the checksum of RFC 1071.
func checksum(b []byte) uint16 {
	var sum uint32
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(b[i])<<8 | uint32(b[i+1])
	}
	if len(b)%2 == 1 {
		sum += uint32(b[len(b)-1]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
