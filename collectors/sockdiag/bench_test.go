package sockdiag

import (
	"fmt"
	"testing"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// BenchmarkDecode goes through n records in memory, in the kernel's portions of 32 KiB.
func BenchmarkDecode(b *testing.B) {
	body := aRecord(b, collectors.CloseWait)
	one := message(typeByFamily, 1, 2, body)
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			per := bufLen / len(one)
			datagram := make([]byte, 0, bufLen)
			for range per {
				datagram = append(datagram, one...)
			}
			b.ReportAllocs()
			s := new(collectors.Socket)
			for b.Loop() {
				for left := n; left > 0; left -= per {
					d := datagrams{buf: datagram, n: min(left, per) * len(one), seq: 1, pid: 2}
					for body, err := range d.messages {
						if err == nil {
							err = decode(body, collectors.TCP, s)
						}
						if err != nil {
							b.Fatal(err)
						}
					}
				}
			}
			perRecord(b, n)
		})
	}
}

// BenchmarkDump reads n real CLOSE_WAIT sockets from the kernel.
func BenchmarkDump(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			socklab.Many(b, socklab.CloseWait, socklab.IPv4, n)
			c := dialTest(b, -1)
			q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.Mask(collectors.CloseWait), Fields: collectors.InfoFields()}
			b.ReportAllocs()
			for b.Loop() {
				if got := count(b, c, q); got != n {
					b.Fatalf("%d of %d sockets", got, n)
				}
			}
			perRecord(b, n)
		})
	}
}

func perRecord(b *testing.B, n int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/record")
}

func count(t testing.TB, c *Conn, q collectors.Query) (n int) {
	for _, err := range c.Dump(t.Context(), q) {
		must(t, "dump", err)
		n++
	}
	return n
}

// The allocations of a dump do not depend on how much it finds.
func TestDumpAllocations(t *testing.T) {
	socklab.Need(t)
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.Mask(collectors.Established), Fields: collectors.InfoFields()}
	var allocs []float64
	for _, n := range []int{10, 3000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			socklab.Many(t, socklab.Established, socklab.IPv4, n)
			c := dialTest(t, -1)
			allocs = append(allocs, testing.AllocsPerRun(5, func() {
				if got := count(t, c, q); got != n {
					t.Errorf("%d of %d sockets", got, n)
				}
			}))
		})
	}
	if len(allocs) == 2 && allocs[1] > allocs[0]+5 {
		t.Errorf("%v allocations for 10 and 3000 sockets", allocs)
	}
}
