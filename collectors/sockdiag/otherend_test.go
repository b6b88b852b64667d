package sockdiag

import (
	"errors"
	"fmt"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// The other end of a connection is found from either end, only in its own namespace, also
// for a dual-stack socket and for one that nobody holds any more.
func TestOtherEnds(t *testing.T) {
	for _, f := range socklab.Families() {
		t.Run(string(f), func(t *testing.T) {
			here, there := dialTest(t, -1), dialTest(t, socklab.Peer(t).FD())
			for _, k := range []socklab.Kind{socklab.Established, socklab.CloseWait, socklab.FinWait2} {
				one := socklab.Make(t, k, f)
				mine, other := find(t, here, one), findEnds(t, there, collectors.TCP, one.Remote, one.Local)
				for name, c := range map[string]struct {
					at   *Conn
					of   *collectors.Socket
					want *collectors.Socket
				}{
					"there": {there, &mine, &other}, "back": {here, &other, &mine}, "nothing here": {here, &mine, nil}, "nothing there": {there, &other, nil},
				} {
					found, errs := c.at.OtherEnds(t.Context(), []*collectors.Socket{c.of})
					switch {
					case c.want == nil && !errors.Is(errs[0], collectors.ErrGone):
						t.Errorf("%s, %s: %v", k, name, errs[0])
					case c.want != nil && (errs[0] != nil || found[0].Cookie != c.want.Cookie || found[0].NetNS != c.at.NetNS()):
						t.Errorf("%s, %s: %+v, %v", k, name, found[0], errs[0])
					}
				}
			}
		})
	}
}

// A listener that would accept such a connection is not its other end.
func TestOtherEndIsNoListener(t *testing.T) {
	c := dialTest(t, -1)
	l := socklab.NewListener(t, socklab.IPv4, 0)
	s := collectors.Socket{
		Protocol: collectors.TCP, Family: collectors.IPv4, Cookie: 1, Remote: collectors.AddrFrom(l.Addr.Addr()), RemotePort: l.Addr.Port(),
		Local: collectors.AddrFrom(socklab.IPv4.Remote()), LocalPort: 1,
	}
	if found, errs := c.OtherEnds(t.Context(), []*collectors.Socket{&s}); !errors.Is(errs[0], collectors.ErrGone) {
		t.Errorf("%+v, %v", found[0], errs[0])
	}
}

// A socket bound to a device answers only a query that names the device.
func TestOtherEndBoundToDevice(t *testing.T) {
	one := socklab.Make(t, socklab.Established, socklab.IPv4)
	must(t, "SO_BINDTODEVICE", unix.BindToDevice(one.Peer, "peer0"))
	s := find(t, dialTest(t, -1), one)
	if _, errs := dialTest(t, socklab.Peer(t).FD()).OtherEnds(t.Context(), []*collectors.Socket{&s}); !errors.Is(errs[0], collectors.ErrGone) {
		t.Errorf("found all the same, or another error: %v", errs[0])
	}
}

// loopback makes connections in this namespace that have n ends in total, and returns
// these.
func loopback(t testing.TB, c *Conn, n int) []*collectors.Socket {
	t.Helper()
	var lc net.ListenConfig
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(t, "listen", err)
	t.Cleanup(func() { _ = l.Close() })
	for range n / 2 {
		one, err := net.Dial("tcp", l.Addr().String())
		must(t, "dial", err)
		other, err := l.Accept()
		must(t, "accept", err)
		t.Cleanup(func() {
			_ = one.(*net.TCPConn).SetLinger(0)
			_, _ = one.Close(), other.Close()
		})
	}
	port := uint16(l.Addr().(*net.TCPAddr).Port)
	q := collectors.Query{
		Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.Mask(collectors.Established),
		Clauses: []collectors.Clause{{Local: []collectors.PortRange{{Low: port, High: port}}}, {Remote: []collectors.PortRange{{Low: port, High: port}}}},
	}
	var all []*collectors.Socket
	for _, s := range dumpTest(t, c, q) {
		all = append(all, &s)
	}
	if len(all) != n {
		t.Fatalf("%d of %d ends", len(all), n)
	}
	return all
}

// All are found, even more than fit into one system call.
func TestManyOtherEnds(t *testing.T) {
	c := dialTest(t, -1)
	socks := loopback(t, c, 3*batchLen+2)
	found, errs := c.OtherEnds(t.Context(), socks)
	for i, s := range socks {
		if errs[i] != nil || found[i].LocalPort != s.RemotePort || found[i].Inode == 0 {
			t.Fatalf("%d: %+v, %v", i, found[i], errs[i])
		}
	}
}

// BenchmarkOtherEnds looks for the other ends of n sockets connected over loopback.
func BenchmarkOtherEnds(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			c := dialTest(b, -1)
			socks := loopback(b, c, n)
			b.ReportAllocs()
			for b.Loop() {
				if _, errs := c.OtherEnds(b.Context(), socks); errs[n-1] != nil {
					b.Fatal(errs[n-1])
				}
			}
			perRecord(b, n)
		})
	}
}
