package lang

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"sockwarden/collectors"
	"sockwarden/rules/lang/langtest"
)

// TestSetAgainstPrefixes: a set of addresses holds exactly what its elements hold one by
// one, however they overlap, touch and mix.
func TestSetAgainstPrefixes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	address := func() netip.Addr {
		if random.IntN(2) == 0 {
			return netip.AddrFrom4([4]byte{10, byte(random.IntN(2)), byte(random.IntN(3)), byte(random.IntN(256))})
		}
		a := [16]byte{0: byte(random.IntN(2)) * 0x20, 10: byte(random.IntN(2)) * 0xff, 11: byte(random.IntN(2)) * 0xff, 15: byte(random.IntN(256))}
		return netip.AddrFrom16(a)
	}
	for range langtest.Rounds(300) {
		var b SetBuilder
		var ranges [][2]netip.Addr
		var texts []string
		for range 1 + random.IntN(30)*random.IntN(20) {
			low := address().Unmap()
			high, text := low, low.String()
			switch random.IntN(3) {
			case 0:
				if other := address().Unmap(); other.BitLen() == low.BitLen() {
					if high = other; high.Less(low) {
						low, high = high, low
					}
					text = low.String() + "-" + high.String()
				}
			case 1:
				p := netip.PrefixFrom(low, low.BitLen()-random.IntN(14)).Masked()
				low, high, text = p.Addr(), p.Addr(), p.String()
				for next := low.Next(); p.Contains(next); next = next.Next() {
					high = next
				}
			}
			ranges, texts = append(ranges, [2]netip.Addr{low, high}), append(texts, text)
			if err := b.Add(text, false); err != nil {
				t.Fatal(err)
			}
		}
		s := b.Set()
		shown, err := parseSet(s.String())
		if err != nil || !shown.Equal(s) {
			t.Fatalf("%s is shown as %s: %v", texts, s, err)
		}
		prefixes := s.prefixes(1 << 20)
		for range 200 {
			a := address()
			want, pushed := false, false
			for _, r := range ranges {
				want = want || r[0].BitLen() == a.Unmap().BitLen() && !a.Unmap().Less(r[0]) && !r[1].Less(a.Unmap())
			}
			for _, p := range prefixes {
				pushed = pushed || p.Contains(a.Unmap())
			}
			if got := s.hasAddr(collectors.AddrFrom(a)); got != want || pushed != want {
				t.Fatalf("%s has %s: %t, by prefixes %t, want %t", texts, a, got, pushed, want)
			}
		}
	}
}

// TestCrowdedSets: buckets, and buckets within them, find what a walk finds.
func TestCrowdedSets(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	for range langtest.Rounds(20) {
		var b SetBuilder
		for range 20_000 {
			low := uint32(random.IntN(4))<<30 | uint32(random.IntN(5000)*3)
			b.ipv4 = append(b.ipv4, span[uint32]{low, low + uint32(random.IntN(2))})
			six := u128{uint64(random.IntN(3))<<61 | uint64(random.IntN(3))<<20 | uint64(random.IntN(500)), uint64(random.IntN(40))}
			b.ipv6 = append(b.ipv6, span[u128]{six, six})
			b.ranges = append(b.ranges, Range{float64(low), float64(low)})
		}
		ipv4, ipv6 := map[uint32]bool{}, map[u128]bool{}
		for i := range b.ipv4 {
			ipv4[b.ipv4[i].Low], ipv4[b.ipv4[i].High], ipv6[b.ipv6[i].Low] = true, true, true
		}
		numbers := map[float64]bool{}
		for _, r := range b.ranges {
			numbers[r.Low] = true
		}
		s := b.Set()
		for range 20_000 {
			n := uint32(random.IntN(4))<<30 | uint32(random.IntN(15_010))
			six := u128{uint64(random.IntN(4))<<61 | uint64(random.IntN(3))<<20 | uint64(random.IntN(501)), uint64(random.IntN(41))}
			if got := s.hasAddr(collectors.AddrFrom(addrOf(u128{0, uint64(n)}, 32))); got != ipv4[n] {
				t.Fatalf("%d: %t", n, got)
			}
			if got := s.addrs.has6(six); got != ipv6[six] {
				t.Fatalf("%v: %t", six, got)
			}
			if got := s.hasNumber(float64(n)); got != numbers[float64(n)] {
				t.Fatalf("%d among numbers: %t", n, got)
			}
		}
	}
}

// TestBlocks: in a list of prefixes of few lengths, the hash of an address finds what the
// prefixes say; in one of many lengths nothing is hashed.
func TestBlocks(t *testing.T) {
	random := rand.New(rand.NewPCG(7, 8))
	address := func() netip.Addr { // crowded, to make prefixes touch and overlap
		return netip.AddrFrom16([16]byte{0x20, 1, byte(random.IntN(256)), byte(random.IntN(256)), 7: byte(random.IntN(8)), 14: byte(random.IntN(2)), 15: byte(random.IntN(4))})
	}
	for _, lengths := range [][]int{{128}, {64}, {128, 127}, {128, 64, 48}, {127, 63, 47, 31}, {128, 120, 64, 56, 48, 40}} {
		var b SetBuilder
		all := map[netip.Prefix]bool{}
		for len(all) < 3*blocksFrom {
			p := netip.PrefixFrom(address(), lengths[random.IntN(len(lengths))]).Masked()
			all[p] = true
			b.Put("", &Element{Kind: KindAddr, low: p.Addr(), high: lastOf(p)})
			if len(all) > 2*blocksFrom && p.Bits() < 64 {
				break
			}
		}
		s := b.Set()
		if hashed := s.addrs.blocks.sizes != nil; hashed != (len(lengths) <= maxSizes) || len(s.addrs.ipv6) < blocksFrom {
			t.Errorf("%d: %d spans, sizes %d", lengths, len(s.addrs.ipv6), s.addrs.blocks.sizes)
		}
		in := 0
		for range 50_000 {
			a, want := address(), false
			for _, l := range lengths {
				p, _ := a.Prefix(l)
				want = want || all[p]
			}
			if want {
				in++
			}
			if got := s.hasAddr(collectors.AddrFrom(a)); got != want {
				t.Fatalf("%d: has %s: %t", lengths, a, got)
			}
		}
		if in < 100 || in > 49_900 {
			t.Errorf("%d: %d addresses are in it: the list tests nothing", lengths, in)
		}
	}
}

// TestJoin: the union of two sets holds what either of them holds, and is one of them if
// that one has it all.
func TestJoin(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	some := func() *Set {
		var b SetBuilder
		for range random.IntN(12) {
			low := random.IntN(120)
			b.ipv4 = append(b.ipv4, span[uint32]{uint32(low), uint32(low + random.IntN(6))})
			b.ipv6 = append(b.ipv6, span[u128]{u128{0, uint64(low)}, u128{0, uint64(low + random.IntN(6))}})
		}
		return b.Set()
	}
	for range 3000 {
		a, b := some(), some()
		both := a.With(b)
		all := true
		for n := range 130 {
			addr, six := collectors.Addr{10: 0xff, 11: 0xff, 15: byte(n)}, collectors.Addr{15: byte(n)}
			for _, x := range []collectors.Addr{addr, six} {
				if both.hasAddr(x) != (a.hasAddr(x) || b.hasAddr(x)) {
					t.Fatalf("%s with %s is %s", a, b, both)
				}
				all = all && (!b.hasAddr(x) || a.hasAddr(x))
			}
		}
		if all != (both == a) {
			t.Fatalf("%s with %s is another set: %s", a, b, both)
		}
		again, err := parseSet(both.String())
		if a.Kind() != KindEmpty && b.Kind() != KindEmpty && (err != nil || !again.Equal(both)) {
			t.Fatalf("%s with %s is not merged: %s", a, b, both)
		}
	}
}

// parseSet reads addresses as String writes them.
func parseSet(text string) (*Set, error) {
	var b SetBuilder
	for e := range strings.SplitSeq(strings.Trim(text, "[]"), ", ") {
		if err := b.Add(e, false); err != nil {
			return nil, err
		}
	}
	return b.Set(), nil
}

// TestElements: how an element of a list is read.
func TestElements(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.1-10.0.0.3": "[10.0.0.1-10.0.0.3]", "10.0.0.0 - 10.0.0.255": "[10.0.0.0/24]", "10.0.0.1..10.0.0.1": "[10.0.0.1/32]",
		"::ffff:10.0.0.1-::ffff:10.0.0.2": "[10.0.0.1-10.0.0.2]", "::ffff:10.0.0.1-10.0.0.2": "[10.0.0.1-10.0.0.2]", "2001:db8::-2001:db8::ffff": "[2001:db8::/112]",
		"0.0.0.0-255.255.255.255": "[0.0.0.0/0]", "::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff": "[::/0]",
		"80-90": "[80..90]", "80:90": "[80..90]", "1.25.3": `["1.25.3"]`, "app-1.2": `["app-1.2"]`, "a:b": `["a:b"]`, "/system.slice/a.b": `["/system.slice/a.b"]`, "99999999999": `["99999999999"]`,
	} {
		var b SetBuilder
		if err := b.Add(text, false); err != nil {
			t.Errorf("%s: %v", text, err)
		} else if got := b.Set().String(); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	for text, want := range map[string]string{
		"10.0.0.256": `"10.0.0.256" is not an address: IPv4 field has value >255`, "010.0.0.1": `"010.0.0.1" is not an address: IPv4 field has octet with leading zero`,
		"2001:db8::1::2":    `"2001:db8::1::2" is not an address: multiple :: in address (at ":2")`,
		"10.0.0.9-10.0.0.1": `"10.0.0.9-10.0.0.1" is not a range of addresses: it goes from a low one to a high one of the same family, both written in full`,
		"10.0.0.9-20":       `"10.0.0.9-20" is not a range of addresses: it goes from a low one to a high one of the same family, both written in full`,
		"10.0.0.9-::1":      `"10.0.0.9-::1" is not a range of addresses: it goes from a low one to a high one of the same family, both written in full`,
		"fe80::/129":        `"fe80::/129" is not a CIDR prefix, such as 10.0.0.0/8 or 2001:db8::/32`, "10/8": `"10/8" is not a CIDR prefix, such as 10.0.0.0/8 or 2001:db8::/32`, "fe80::1%eth0": `address "fe80::1%eth0" has a zone: match interface instead`,
	} {
		if e, err := ParseElement(text); err == nil || err.Error() != want {
			t.Errorf("%s: %v, %v", text, e, err)
		}
	}
}

// addressesOf makes a set of n addresses far apart, and records of which every second one
// is in it.
func addressesOf(n int, six bool) (*Set, []collectors.Addr) {
	random := rand.New(rand.NewPCG(1, uint64(n)))
	var b SetBuilder
	asked := make([]collectors.Addr, 1<<16)
	one := func() netip.Addr {
		if !six {
			return netip.AddrFrom4([4]byte{byte(1 + random.IntN(223)), byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32())})
		}
		a := [16]byte{0x20 + byte(random.IntN(16)), byte(random.Uint32()), 0x0d, byte(random.Uint32()), byte(random.Uint32()), byte(random.Uint32()), 15: byte(random.Uint32())}
		return netip.AddrFrom16(a)
	}
	for i := range n {
		a := one()
		if k := i % len(asked); k%2 == 0 {
			asked[k] = collectors.AddrFrom(a)
		}
		b.Put("", &Element{Kind: KindAddr, low: a, high: a})
	}
	for k := range asked {
		if k%2 == 1 || k >= n {
			asked[k] = collectors.AddrFrom(one())
		}
	}
	random.Shuffle(len(asked), func(i, k int) { asked[i], asked[k] = asked[k], asked[i] })
	return b.Set(), asked
}

func BenchmarkMembership(b *testing.B) {
	// CPU time: what else the machine does must not count.
	measure := func(b *testing.B, one func(i int)) {
		b.Helper()
		b.ReportAllocs()
		began := spent(b)
		for i := 0; b.Loop(); i++ {
			one(i)
		}
		b.ReportMetric(float64(spent(b)-began)/float64(b.N), "cpu-ns/op")
	}
	for _, n := range []int{100, 1000, 10_000, 100_000, 1_000_000} {
		for name, six := range map[string]bool{"ipv4": false, "ipv6": true} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				s, asked := addressesOf(n, six)
				measure(b, func(i int) { s.hasAddr(asked[i&(1<<16-1)]) })
			})
		}
		b.Run(fmt.Sprintf("names/%d", n), func(b *testing.B) {
			names, asked := make([]string, n), make([]string, 1<<16)
			for i := range names {
				names[i] = fmt.Sprint("worker-", i*7919)
			}
			// Copies, one after another: the name asked for is in the cache, the contents
			// of the list are not. Every second one is in it.
			random := rand.New(rand.NewPCG(1, uint64(n)))
			for i := range asked {
				asked[i] = fmt.Sprint("worker-", random.IntN(n)*7919+i%2)
			}
			s := newSet(nil, names)
			measure(b, func(i int) { s.hasName(asked[i&(1<<16-1)]) })
		})
		b.Run(fmt.Sprintf("numbers/%d", n), func(b *testing.B) {
			ranges := make([]Range, n)
			for i := range ranges {
				ranges[i] = Range{float64(i * 10), float64(i * 10)}
			}
			s := newSet(ranges, nil)
			measure(b, func(i int) { s.hasNumber(float64(i * 7919 % (n * 10))) })
		})
	}
}
