package procfs

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// perChild stays below the hard limit on open files of the build machines.
const perChild = 15_000

// BenchmarkHolders searches for n sockets in the descriptors of processes that hold
// nothing else; 60,000 are spread over four processes.
func BenchmarkHolders(b *testing.B) {
	for _, n := range []int{100, 10_000, 60_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			inodes := manySockets(b, n)
			f := New("")
			b.ReportAllocs()
			for b.Loop() {
				h, err := f.Holders(b.Context(), inodes)
				if err != nil || len(h.ByInode) != n {
					b.Fatalf("%d of %d sockets, %v", len(h.ByInode), n, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/socket")
		})
	}
}

// BenchmarkHoldersOne searches for one socket among n: the cost of a look before an
// action.
func BenchmarkHoldersOne(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			manySockets(b, n)
			_, inode := newSocket(b)
			one, f := map[uint32]bool{inode: true}, New("")
			b.ReportAllocs()
			for b.Loop() {
				if h, err := f.Holders(b.Context(), one); err != nil || len(h.ByInode) != 1 {
					b.Fatalf("%+v, %v", h, err)
				}
			}
		})
	}
}

// BenchmarkHoldersAmong searches for one socket among n processes that hold no socket.
func BenchmarkHoldersAmong(b *testing.B) {
	for _, n := range []int{10, 300} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for range n {
				cat(b, nil)
			}
			_, inode := newSocket(b)
			one, f := map[uint32]bool{inode: true}, New("")
			b.ReportAllocs()
			for b.Loop() {
				if h, err := f.Holders(b.Context(), one); err != nil || len(h.ByInode) != 1 {
					b.Fatalf("%+v, %v", h, err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/process")
		})
	}
}

// BenchmarkSearch searches for 40,000 sockets of eight processes with several workers,
// each taking a few processes at a time.
func BenchmarkSearch(b *testing.B) {
	inodes := map[uint32]bool{}
	for range 8 {
		maps.Copy(inodes, manySockets(b, 5000))
	}
	for _, workers := range []int{1, 2, 4} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			f := New("")
			b.ReportAllocs()
			for b.Loop() {
				if found := searchBy(b, f, workers, 1, inodes); len(inodesOf(found)) != len(inodes) {
					b.Fatalf("%d of %d sockets", len(inodesOf(found)), len(inodes))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(inodes)), "ns/socket")
		})
	}
}

// manySockets makes n sockets, held by child processes, and returns their inodes.
func manySockets(b *testing.B, n int) map[uint32]bool {
	b.Helper()
	inodes := make(map[uint32]bool, n)
	for left := n; left > 0; left -= perChild {
		raiseLimit(b)
		pid := child(b, fmt.Sprintf("sockets %d", min(left, perChild)))
		links, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		must(b, "list descriptors", err)
		for _, l := range links {
			target, err := os.Readlink(l)
			must(b, "readlink", err)
			if i, ok := socketInode([]byte(target)); ok {
				inodes[i] = true
			}
		}
	}
	if len(inodes) != n {
		b.Fatalf("%d sockets, not %d", len(inodes), n)
	}
	return inodes
}

// raiseLimit raises the soft limit on open files, which children inherit.
func raiseLimit(b *testing.B) {
	b.Helper()
	var limit unix.Rlimit
	must(b, "getrlimit", unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	limit.Cur = limit.Max
	must(b, "setrlimit", unix.Setrlimit(unix.RLIMIT_NOFILE, &limit))
}
