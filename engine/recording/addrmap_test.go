package recording

import (
	"math/rand/v2"
	"net/netip"
	"testing"
)

// kindOf says of what kind an address is.
func kindOf(a netip.Addr) [6]bool {
	shared := netip.MustParsePrefix("100.64.0.0/10")
	return [6]bool{a.Is4(), a.IsLoopback(), a.IsPrivate(), a.IsLinkLocalUnicast(), a.IsMulticast(), a.Is4() && shared.Contains(a)}
}

// common is how many bits two addresses have in common at the beginning.
func common(a, b netip.Addr) int {
	for n := a.BitLen(); n > 0; n-- {
		if p, err := a.Prefix(n); err == nil && p.Contains(b) {
			return n
		}
	}
	return 0
}

// TestAddresses checks what stays of random addresses: that equal ones are equal and others
// are not, their kind, and how many bits two of them have in common.
func TestAddresses(t *testing.T) {
	m, r := newAddrMap(), rand.New(rand.NewPCG(rand.Uint64(), 1))
	var all []netip.Addr
	for _, text := range []string{
		"127.0.0.1", "::1", "0.0.0.0", "::", "10.1.2.3", "172.16.0.1", "172.31.255.255", "172.32.0.1", "172.15.1.1", "192.168.1.1", "192.169.1.1", "100.64.0.1",
		"100.128.0.1", "169.254.0.1", "169.253.1.1", "224.0.0.1", "255.255.255.255", "198.51.100.7", "203.0.113.9", "8.8.8.8", "1.1.1.1", "fe80::1", "fd00::1",
		"ff02::1", "2001:db8::7", "2a00::1", "64:ff9b::808:808", "::2",
	} {
		all = append(all, netip.MustParseAddr(text))
	}
	for range 2000 {
		near := all[r.IntN(len(all))].AsSlice()
		for i := range near {
			if i >= r.IntN(len(near)+1) {
				near[i] = byte(r.Uint32())
			}
		}
		a, _ := netip.AddrFromSlice(near)
		all = append(all, a.Unmap())
	}
	changed := 0
	came := map[netip.Addr]netip.Addr{}
	for i, a := range all {
		to := m.of(a)
		if kindOf(a) != kindOf(to) {
			t.Fatalf("%v became %v, which is of another kind", a, to)
		}
		if from, ok := came[to]; ok && from != a {
			t.Fatalf("%v and %v became %v", from, a, to)
		}
		came[to] = a
		if to != a {
			changed++
		}
		b := all[r.IntN(i+1)]
		alike := a.Is4() == b.Is4() && !a.IsLoopback() && !b.IsLoopback() && !b.IsUnspecified() && !a.IsUnspecified() && (a.Is4() || kindOf6(a) == kindOf6(b))
		if n := common(a, b); alike && n >= 16 && common(to, m.of(b)) != n {
			t.Fatalf("%v and %v have %d bits in common, %v and %v have %d", a, b, n, to, m.of(b), common(to, m.of(b)))
		}
	}
	if changed < len(all)/2 {
		t.Errorf("%d of %d addresses are others", changed, len(all))
	}
	if other := newAddrMap(); other.of(all[19]) == m.of(all[19]) && other.of(all[24]) == m.of(all[24]) && other.of(all[25]) == m.of(all[25]) {
		t.Error("two maps are alike")
	}
}
