package engine

import (
	"bytes"
	"fmt"
	"log/slog"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/engine/recording"
	"sockwarden/rules"
)

// recordedCrowd is a recording of so many sockets, held by 50 processes.
func recordedCrowd(n int) *recording.Recording {
	r := &recording.Recording{
		Header:     recording.Header{Version: recording.Version, Host: "h", Kernel: "6.12.0", Time: time.Unix(1.8e9, 0), Mono: 1e5},
		Namespaces: []recording.Namespace{{Name: "host", Inode: 1, Own: true, Recorded: true, TCP: n, Sure: true}},
	}
	owner := collectors.OwnerFields()
	for i := range 50 {
		r.Processes = append(r.Processes, recording.Process{Owner: collectors.Owner{
			Known: owner, PID: 100 + i, StartTime: 7, Comm: fmt.Sprintf("app%d", i), Name: fmt.Sprintf("app%d", i), Exe: "/usr/bin/app", Cgroup: "/system.slice/app.service",
		}})
	}
	known := collectors.InfoFields().AndNot(collectors.AgeFields().Or(collectors.StallFields())).Or(collectors.Fields(collectors.FieldProtocol, collectors.FieldFamily, collectors.FieldState,
		collectors.FieldLocalAddr, collectors.FieldPort, collectors.FieldRemoteAddr, collectors.FieldRemotePort, collectors.FieldCookie, collectors.FieldInode,
		collectors.FieldRecvQueue, collectors.FieldSendQueue, collectors.FieldOwned, collectors.FieldOrphan, collectors.FieldUnaccepted, collectors.FieldUID))
	for i := range n {
		s := collectors.Socket{
			Known: known, Protocol: collectors.TCP, Family: collectors.IPv4, State: collectors.CloseWait, NetNS: 1, Cookie: uint64(i + 1), Inode: uint32(i + 1),
			Local: collectors.Addr{10: 255, 11: 255, 12: 192, 14: 2, 15: 1}, Remote: collectors.Addr{10: 255, 11: 255, 12: 198, 13: 51, 14: byte(i >> 8), 15: byte(i)},
			LocalPort: uint16(1000 + i%5000), RemotePort: uint16(1024 + i%60000),
		}
		s.Info = collectors.TCPInfo{
			Len: 248, RTO: 204000, RTT: uint32(i), LastDataSent: 90000, LastDataRecv: uint32(80000 + i%1000), LastAckRecv: uint32(80000 + i%1000),
			BytesSent: uint64(i), BytesAcked: uint64(i), BytesReceived: uint64(i), SegsIn: 12, SegsOut: 9, Options: 7, WindowScales: 0x77,
		}
		r.Sockets = append(r.Sockets, recording.Socket{Socket: s, Holders: []recording.Holder{{Process: i % 50, FD: 9}}, AllHolders: true})
	}
	return r
}

// reportCPU reports the processor time of an operation, which a busy machine does not stretch
// as it does the time.
func reportCPU(b *testing.B) func() {
	b.Helper()
	used := func() time.Duration {
		var u unix.Rusage
		must(b, "rusage", unix.Getrusage(unix.RUSAGE_SELF, &u))
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	return func() { b.ReportMetric(float64((used()-before).Milliseconds())/float64(b.N), "CPU-ms/op") }
}

// BenchmarkRecordingOfKernel records so many connections of this kernel, with what holds them,
// into a file in memory.
func BenchmarkRecordingOfKernel(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			if n > 10_000 && testing.Short() {
				b.Skip("short")
			}
			benchSockets(b, n)
			for _, compress := range []bool{false, true} {
				b.Run(fmt.Sprintf("zstd=%v", compress), func(b *testing.B) {
					l := newLab(b, Options{World: hostWorld(b, "", runtime.GOMAXPROCS(0))})
					var file bytes.Buffer
					b.ReportAllocs()
					defer reportCPU(b)()
					for b.Loop() {
						made, err := l.Record(b.Context(), "host", recording.Options{})
						must(b, "record", err)
						file.Reset()
						must(b, "write", recording.WriteAny(&file, made, compress))
						if len(made.Sockets) < n {
							b.Fatalf("%d sockets", len(made.Sockets))
						}
					}
					b.ReportMetric(float64(file.Len())/float64(n), "B/socket")
				})
			}
		})
	}
}

// BenchmarkRecording writes, reads and audits recordings of so many sockets.
func BenchmarkRecording(b *testing.B) {
	p, err := rules.NewSelection(rules.Selection{
		Name: "r", Text: `state == "CLOSE_WAIT" && age > 60 && process == "app7"`, Mode: rules.ModeObserve, NetNS: "host",
	})
	must(b, "rules", err)
	for _, n := range []int{1_000, 100_000} {
		made := recordedCrowd(n)
		for _, compress := range []bool{false, true} {
			var file bytes.Buffer
			must(b, "write", recording.WriteAny(&file, made, compress))
			b.Run(fmt.Sprintf("write/%d/zstd=%v", n, compress), func(b *testing.B) {
				b.ReportAllocs()
				defer reportCPU(b)()
				for b.Loop() {
					file.Reset()
					must(b, "write", recording.WriteAny(&file, made, compress))
				}
				b.ReportMetric(float64(file.Len())/float64(n), "B/socket")
			})
			b.Run(fmt.Sprintf("replay/%d/zstd=%v", n, compress), func(b *testing.B) {
				b.ReportAllocs()
				defer reportCPU(b)()
				for b.Loop() {
					r, err := recording.ReadAny(bytes.NewReader(file.Bytes()))
					must(b, "read", err)
					e, err := New(Options{From: r.World(), Logger: slog.New(slog.DiscardHandler)})
					must(b, "engine", err)
					report, err := e.Look(b.Context(), p)
					must(b, "look", err)
					if len(report.Findings) != n/50 {
						b.Fatalf("%d findings", len(report.Findings))
					}
					e.Close()
				}
			})
		}
	}
}
