package bpf

import (
	"fmt"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// perChild stays below the hard limit on open files of the build machines.
const perChild = 15_000

func BenchmarkOwnersScan(b *testing.B) {
	for _, n := range []int{1000, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			if n > 10_000 && testing.Short() {
				b.Skip("short")
			}
			var limit unix.Rlimit
			must(b, "getrlimit", unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
			limit.Cur = limit.Max
			must(b, "setrlimit", unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
			for left := n; left > 0; left -= perChild {
				child(b, min(left, perChild))
			}
			o := openTest(b)
			b.ReportAllocs()
			for b.Loop() {
				found := 0
				must(b, "scan", o.Scan(b.Context(), func(Holder) bool { found++; return true }))
				if found < n {
					b.Fatalf("%d of %d sockets", found, n)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/socket")
		})
	}
}

func BenchmarkOpenOwners(b *testing.B) {
	openTest(b) // or skip
	b.ReportAllocs()
	for b.Loop() {
		o, err := OpenOwners()
		must(b, "open", err)
		must(b, "close", o.Close())
	}
}

func BenchmarkOpenEvents(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		e, err := OpenEvents(EventOptions{States: collectors.Mask(collectors.CloseWait)})
		capable(b, err)
		must(b, "close", e.Close())
	}
}

func BenchmarkLookup(b *testing.B) {
	e, err := OpenEvents(EventOptions{})
	capable(b, err)
	defer e.Close()
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := e.Lookup(1 << 60); ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}

// BenchmarkTransitions makes sockets listen and close again: without a program, with one
// that notes nothing, and with one that notes every transition.
func BenchmarkTransitions(b *testing.B) {
	for name, states := range map[string]collectors.StateMask{"noting": collectors.AllStates, "watching": 0} {
		b.Run(name, func(b *testing.B) {
			e, err := OpenEvents(EventOptions{States: states})
			capable(b, err)
			defer e.Close()
			for b.Loop() {
				transitions(b)
			}
		})
	}
	b.Run("without", func(b *testing.B) {
		for b.Loop() {
			transitions(b)
		}
	})
}

func transitions(b *testing.B) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(b, "socket", err)
	must(b, "listen", unix.Listen(fd, 1))
	must(b, "close", unix.Close(fd))
}
