package engine

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/memory"
)

// benchSockets makes ESTABLISHED connections in processes that hold 8,000 each: as many
// as the usual limits on descriptors and local ports allow.
func benchSockets(b *testing.B, n int) {
	b.Helper()
	const each = 8000
	for left := n; left > 0; left -= each {
		holder(b, socklab.Many(b, socklab.Established, socklab.IPv4, min(left, each))...)
	}
}

// BenchmarkCycle measures a dry cycle by the number of sockets: with rules for a state
// that no socket is in, which the kernel filters; with rules that read each record and
// take none; with rules whose ages are remembered; and with rules that take all.
func BenchmarkCycle(b *testing.B) {
	p := map[string]string{
		"filtered":   ruleFile(`state == "CLOSE_WAIT" && age > 60`, "destroy"),
		"unfiltered": ruleFile(`recv_queue > 1000000 || send_queue > 1000000`, "destroy"),
		"ages":       ruleFile(`state == "ESTABLISHED" && age > 86400`, "destroy"),
		"all":        ruleFile(`state == "ESTABLISHED"`, "destroy"),
	}
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			if n > 10_000 && testing.Short() {
				b.Skip("short")
			}
			benchSockets(b, n)
			for _, name := range []string{"filtered", "unfiltered", "ages", "all"} {
				b.Run(name, func(b *testing.B) {
					l := newLab(b, Options{NoBreaker: true, World: hostWorld(b, "", runtime.GOMAXPROCS(0))})
					program := l.rules(b, p[name])
					b.ReportAllocs()
					for b.Loop() {
						r := l.cycle(b, program)
						if len(r.Errors) > 0 {
							b.Fatal(r.Errors)
						}
					}
				})
			}
		})
	}
}

// BenchmarkCensus measures the counting walk behind metrics, by the number of sockets.
func BenchmarkCensus(b *testing.B) {
	for _, n := range []int{100, 10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			if n > 10_000 && testing.Short() {
				b.Skip("short")
			}
			benchSockets(b, n)
			l := newLab(b, Options{})
			c, err := NewCounter(Options{Sources: []collectors.Plugin{sockdiag.Plugin()}, World: hostWorld(b, "", runtime.GOMAXPROCS(0)), Logger: l.journal.logger()}, true)
			must(b, "counter", err)
			defer c.Close()
			b.ReportAllocs()
			for b.Loop() {
				census, err := c.Count(b.Context(), nil, nil)
				must(b, "count", err)
				if len(census.Errors) > 0 || census.Sockets[collectors.TCP][collectors.Established] < n {
					b.Fatalf("%v, %v", census.Sockets, census.Errors)
				}
			}
		})
	}
}

// BenchmarkCycleNamespaces measures a dry cycle by the number of network namespaces, each
// empty or with a listener and a connection. It also measures what the kernel's walks
// alone take, over connections that are already open.
func BenchmarkCycleNamespaces(b *testing.B) {
	text := "netns: all\n" + ruleFile(`state in ["CLOSE_WAIT", "FIN_WAIT2"] && age > 60`, "destroy")
	for _, n := range []int{1, 20, 200} {
		for _, used := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d/%s", n, map[bool]string{false: "empty", true: "used"}[used]), func(b *testing.B) {
				var conns []*sockdiag.Conn
				for i := range n {
					ns := socklab.NewNamespace(b, fmt.Sprint("bench", i))
					conn, err := sockdiag.Dial(ns.FD())
					must(b, "dial", err)
					b.Cleanup(func() { _ = conn.Close() })
					conns = append(conns, conn)
					if used {
						client, server := pairIn(b, ns)
						b.Cleanup(func() { _, _ = unix.Close(client), unix.Close(server) })
					}
				}
				l := newLab(b, Options{NoBreaker: true, World: hostWorld(b, "", runtime.GOMAXPROCS(0))})
				program := l.rules(b, text)
				b.Run("cycle", func(b *testing.B) {
					b.ReportAllocs()
					before := cpu(b)
					for b.Loop() {
						noErrors(b, l.cycle(b, program))
					}
					b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
				})
				b.Run("walks", func(b *testing.B) {
					q, before := program.Query, cpu(b)
					for b.Loop() {
						for _, conn := range conns {
							for _, err := range conn.Dump(b.Context(), q) {
								must(b, "dump", err)
							}
						}
					}
					b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
				})
			})
		}
	}
}

// cpu returns the processor time that this process has used, in nanoseconds: on a busy
// machine, elapsed time includes that of others.
func cpu(b *testing.B) int64 {
	b.Helper()
	var u unix.Rusage
	must(b, "rusage", unix.Getrusage(unix.RUSAGE_SELF, &u))
	return u.Utime.Nano() + u.Stime.Nano()
}

// BenchmarkStateFile measures how long it takes to save and read what is remembered about
// 10,000 sockets.
func BenchmarkStateFile(b *testing.B) {
	m := memory.NewMemory()
	for i := range 10_000 {
		m.Cooldowns["socket "+strings.Repeat("f", 12)+fmt.Sprint(i)] = memory.Cooldown{At: 1, Until: 301}
	}
	s := &memory.StateFile{Path: b.TempDir() + "/state.json", BootID: bootID(b)}
	b.ReportAllocs()
	for b.Loop() {
		must(b, "write", s.Write(m))
		must(b, "read", s.Read(memory.NewMemory()))
	}
}
