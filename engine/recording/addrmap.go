package recording

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	mathrand "math/rand/v2"
	"net/netip"

	"sockwarden/collectors"
)

// addrMap replaces addresses. Equal ones stay equal, and those that begin alike still do: bit
// after bit is turned, or not, by what stands before it. What kind of address it is stays:
// loopback, private, shared (CGNAT), link-local, multicast or global.
type addrMap struct {
	bits   cipher.Block
	octets [256]byte          // the first octets of plain global addresses of IPv4
	second map[byte][256]byte // the second ones, behind first octets with addresses of several kinds
}

// kinds4 are the prefixes of IPv4 whose addresses are not plain global ones.
var kinds4 = prefixes("10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16", "192.0.0.0/16", "198.18.0.0/15", "198.51.0.0/16", "203.0.0.0/16")

// kinds6 are those of IPv6, with the longest first.
var kinds6 = prefixes("64:ff9b::/96", "fe80::/64", "fe80::/10", "fc00::/8", "fd00::/8", "ff00::/16", "2001:db8::/32", "2000::/3")

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func newAddrMap() *addrMap {
	key := make([]byte, 16)
	_, _ = rand.Read(key) // never fails
	m := &addrMap{second: map[byte][256]byte{}}
	m.bits, _ = aes.NewCipher(key) // of the right length
	var seed [32]byte
	_, _ = rand.Read(seed[:])
	shuffled := mathrand.New(mathrand.NewChaCha8(seed)) //nolint:gosec // ChaCha8 by a secret seed is strong
	m.octets = permuted(shuffled, func(b byte) bool { return b != 0 && b != 127 && b < 224 && !several(b) })
	for first := range 256 {
		if several(byte(first)) {
			m.second[byte(first)] = permuted(shuffled, func(b byte) bool { return kindOf4([4]byte{byte(first), b}) == 0 })
		}
	}
	return m
}

// several reports whether addresses that begin with an octet are of several kinds.
func several(first byte) bool {
	for _, p := range kinds4 {
		if p.Addr().As4()[0] == first {
			return true
		}
	}
	return false
}

// kindOf4 is the length of the prefix that says what kind an address of IPv4 is, 0 for a
// plain global one.
func kindOf4(a [4]byte) int {
	for _, p := range kinds4 {
		if p.Contains(netip.AddrFrom4(a)) {
			return p.Bits()
		}
	}
	return 0
}

// permuted maps the bytes that belong together to each other, and all others to themselves.
func permuted(r *mathrand.Rand, belongs func(byte) bool) (to [256]byte) {
	var all []byte
	for b := range 256 {
		if to[b] = byte(b); belongs(byte(b)) {
			all = append(all, byte(b))
		}
	}
	for i, k := range r.Perm(len(all)) {
		to[all[i]] = all[k]
	}
	return to
}

// of is what stands for an address.
func (m *addrMap) of(a netip.Addr) netip.Addr {
	a = a.Unmap()
	switch {
	case !a.IsValid() || a.IsLoopback() || a.IsUnspecified():
		return a
	case a.Is4():
		return netip.AddrFrom4(m.of4(a.As4()))
	}
	b := a.As16()
	return netip.AddrFrom16([16]byte(m.turn(b[:], kindOf6(a))))
}

// kindOf6 is the length of the prefix that says what kind an address of IPv6 is.
func kindOf6(a netip.Addr) int {
	const others = 16
	for _, p := range kinds6 {
		if p.Contains(a) {
			return p.Bits()
		}
	}
	return others
}

func (m *addrMap) of4(a [4]byte) [4]byte {
	first := a[0]
	switch fixed := kindOf4(a); {
	case first == 0 || first >= 224:
		return a
	case fixed > 0:
		return [4]byte(m.turn(a[:], fixed))
	case several(first):
		to := m.second[first]
		b := m.turn(a[:], 16)
		return [4]byte{first, to[a[1]], b[2], b[3]}
	}
	b := m.turn(a[:], 8)
	return [4]byte{m.octets[first], b[1], b[2], b[3]}
}

// turn turns the bits behind the first ones.
func (m *addrMap) turn(a []byte, fixed int) []byte {
	to := append([]byte(nil), a...)
	var in, out [16]byte
	for i := fixed; i < len(a)*8; i++ {
		// What stands before the bit, how many bits that are, and of which family.
		clear(in[:])
		copy(in[:], a[:i/8])
		in[i/8] = a[i/8] &^ (0xff >> (i % 8))
		if i < 120 {
			in[15] = byte(i)
		}
		m.bits.Encrypt(out[:], in[:])
		if i >= 120 { // there is no room for the number
			in = out
			in[0] ^= byte(i)
			m.bits.Encrypt(out[:], in[:])
		}
		if out[0]&1 == 1 {
			to[i/8] ^= 0x80 >> (i % 8)
		}
	}
	return to
}

// addr is the same of an address of a record.
func (m *addrMap) addr(a collectors.Addr) collectors.Addr {
	if a == (collectors.Addr{}) {
		return a
	}
	return collectors.AddrFrom(m.of(a.Netip()))
}

func (m *addrMap) end(e netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(m.of(e.Addr()), e.Port())
}

// number is a random one, for names that are numbers.
func (m *addrMap) number(text string) [16]byte {
	var in, out [16]byte
	for i := 0; i < len(text); i += 8 {
		var block [8]byte
		copy(block[:], text[i:])
		binary.BigEndian.PutUint64(in[:8], binary.BigEndian.Uint64(in[:8])^binary.BigEndian.Uint64(block[:]))
		m.bits.Encrypt(out[:], in[:])
		in = out
	}
	return out
}
