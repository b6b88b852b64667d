package bpf

import (
	"encoding/binary"

	"sockwarden/collectors"
)

// Entry is when a socket entered its state. It is of use only if the socket is
// still in that state: see Fits.
type Entry struct {
	State collectors.State
	// Since is in seconds of CLOCK_MONOTONIC (bpf_ktime_get_ns), taken right
	// before the kernel stored the state.
	Since  float64
	Family collectors.Family
	// LocalPort and RemotePort are those at that time. Sockets that enter
	// SYN_SENT or LISTEN need not have a local port yet, and those that enter
	// CLOSE have none any more.
	LocalPort, RemotePort uint16
}

// Fits reports whether e, which was found by the cookie of s, is about the state
// that s is in.
func (e *Entry) Fits(s *collectors.Socket) bool {
	if e.State != s.State || s.Protocol != collectors.TCP || e.Family != s.Family {
		return false
	}
	if collectors.Mask(collectors.SynSent, collectors.Listen, collectors.Close).Has(e.State) {
		return true
	}
	return e.LocalPort == s.LocalPort && e.RemotePort == s.RemotePort
}

// The value of an entry, in host byte order but for the remote port.
const (
	valueCookie = 0  // u64
	valueSince  = 8  // u64, nanoseconds
	valueState  = 16 // u16
	valueFamily = 18 // u16
	valueLocal  = 20 // u16
	valueRemote = 22 // u16, big-endian
	valueSeal   = 24 // u64, valueCookie ^ valueSince
	valueSize   = 32
)

// decodeEntry is false if the value is not in one piece: while it is copied, the
// kernel may give its place to another socket.
func decodeEntry(cookie uint64, v *[valueSize]byte) (Entry, bool) {
	ne := binary.NativeEndian
	since := ne.Uint64(v[valueSince:])
	if ne.Uint64(v[valueCookie:]) != cookie || ne.Uint64(v[valueSeal:]) != cookie^since {
		return Entry{}, false
	}
	return Entry{
		State:      collectors.State(ne.Uint16(v[valueState:])),
		Since:      seconds(since),
		Family:     collectors.Family(ne.Uint16(v[valueFamily:])),
		LocalPort:  ne.Uint16(v[valueLocal:]),
		RemotePort: binary.BigEndian.Uint16(v[valueRemote:]),
	}, true
}
