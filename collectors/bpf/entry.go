package bpf

import (
	"encoding/binary"

	"sockwarden/collectors"
)

// Entry says when a socket entered a state. It is useful only while the socket is still
// in that state: see Fits.
type Entry struct {
	State collectors.State
	// Since is in seconds of CLOCK_MONOTONIC (bpf_ktime_get_ns), taken right
	// before the kernel stored the state.
	Since  float64
	Family collectors.Family
	// LocalPort and RemotePort are the ports at that time. A socket that enters SYN_SENT
	// or LISTEN may not have a local port yet; one that enters CLOSE has none any more.
	LocalPort, RemotePort uint16
}

// Fits reports whether e, found by the cookie of s, is about the state that s is in.
func (e *Entry) Fits(s *collectors.Socket) bool {
	if e.State != s.State || s.Protocol != collectors.TCP || e.Family != s.Family {
		return false
	}
	if collectors.Mask(collectors.SynSent, collectors.Listen, collectors.Close).Has(e.State) {
		return true
	}
	return e.LocalPort == s.LocalPort && e.RemotePort == s.RemotePort
}

// The layout of an entry, in host byte order except for the remote port.
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

// decodeEntry returns false if the value is torn: while the kernel copies it, another
// socket may get its place.
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
