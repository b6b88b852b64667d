package procfs

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/procnet"
	"sockwarden/collectors/socklab"
)

func TestParseSockstat(t *testing.T) {
	for _, c := range []struct {
		name, text string
		want       Counts
	}{
		{
			"both families",
			"sockets: used 412\nTCP: inuse 31 orphan 2 tw 7 alloc 40 mem 3\nUDP: inuse 5 mem 2\nUDPLITE: inuse 9\nRAW: inuse 9\nFRAG: inuse 9 memory 9\n" +
				"TCP6: inuse 4\nUDP6: inuse 3\nUDPLITE6: inuse 9\nRAW6: inuse 9\nFRAG6: inuse 9 memory 9\n",
			Counts{TCP: 31 + 7 + 4, UDP: 5 + 3},
		},
		{"IPv4 alone", "TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 0\nUDP: inuse 0 mem 0\n", Counts{TCP: 1}},
		{"empty", "", Counts{}},
		{"broken", "TCP\nTCP:\nTCP: inuse\nTCP: inuse x tw -3\nUDP inuse 4\n: inuse 5\nUDP: inuse 99999999999999999999\n", Counts{}},
	} {
		if got := parseSockstat(c.text); got != c.want {
			t.Errorf("%s: %+v, not %+v", c.name, got, c.want)
		}
	}
}

// A namespace of one's own counts what is made in it and nothing else.
func TestSockstat(t *testing.T) {
	leakCheck(t)
	n, f := socklab.NewNamespace(t, "counted"), New("")
	count := func() (c Counts) {
		t.Helper()
		must(t, "sockstat", n.Do(func() (err error) {
			c, err = f.Sockstat()
			return err
		}))
		return c
	}
	if c := count(); c != (Counts{}) {
		t.Errorf("an empty namespace has %+v", c)
	}
	for _, domain := range []int{unix.AF_INET, unix.AF_INET6} {
		for _, typ := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM, unix.SOCK_DGRAM} {
			fd, err := n.Socket(domain, typ, 0)
			must(t, "socket", err)
			defer unix.Close(fd)
			if typ == unix.SOCK_STREAM {
				must(t, "listen", unix.Listen(fd, 1))
				continue
			}
			var any unix.Sockaddr = &unix.SockaddrInet4{}
			if domain == unix.AF_INET6 {
				any = &unix.SockaddrInet6{}
			}
			must(t, "bind", unix.Bind(fd, any))
		}
	}
	if c := count(); c != (Counts{TCP: 2, UDP: 4}) {
		t.Errorf("2 listeners and 4 UDP sockets: %+v", c)
	}
}

// identity tells the sockets of /proc/net apart, which can show one twice.
type identity struct {
	key    collectors.Key
	family collectors.Family
	inode  uint32
}

func listed(t *testing.T) map[identity]bool {
	t.Helper()
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP, collectors.UDP}, States: collectors.AllStates}
	all := map[identity]bool{}
	for s, err := range procnet.Plugin().New(-1).Collect(t.Context(), q) {
		must(t, "/proc/net", err)
		all[identity{collectors.KeyOf(s), s.Family, s.Inode}] = true
	}
	return all
}

// Every socket that /proc/net lists is counted once, TIME_WAIT and orphans too;
// only those in SYN_RECV are not.
func TestSockstatStates(t *testing.T) {
	socklab.Need(t)
	f := New("")
	for _, k := range socklab.Kinds() {
		socklab.Make(t, k, socklab.IPv4)
		socklab.Make(t, k, socklab.IPv6)
	}
	socklab.WaitFor(t, "the counts to fit", func() bool { // sockets end meanwhile
		var want Counts
		for s := range listed(t) {
			switch {
			case s.key.Protocol == collectors.UDP:
				want.UDP++
			case s.key.State != collectors.SynRecv:
				want.TCP++
			}
		}
		got, err := f.Sockstat()
		must(t, "sockstat", err)
		own, err := f.SockstatOf(os.Getpid())
		must(t, "sockstat of this process", err)
		return got == want && own == want && want.TCP >= 2*16 && want.UDP >= 4
	})
	if _, err := f.SockstatOf(1<<22 + 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of no process: %v", err)
	}
}

func TestEphemeralPorts(t *testing.T) {
	n, f := socklab.NewNamespace(t, "ports"), New("")
	n.Sysctl(t, "net/ipv4/ip_local_port_range", "40000 40100")
	must(t, "in the namespace", n.Do(func() error {
		low, high, err := f.EphemeralPorts()
		if low != 40000 || high != 40100 {
			return fmt.Errorf("%d to %d: %w", low, high, err)
		}
		return err
	}))
	if low, high, err := f.EphemeralPorts(); err != nil || low == 40000 || low >= high {
		t.Errorf("ours: %d to %d, %v", low, high, err)
	}
	for _, text := range []string{"", "32768", "a b", "32768 99999", "-1 5"} {
		low, high, err := New(tree(t, map[string]string{"sys/net/ipv4/ip_local_port_range": text})).EphemeralPorts()
		if err == nil || low != 0 || high != 0 {
			t.Errorf("%q: %d to %d, %v", text, low, high, err)
		}
	}
}
