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
		told       int
	}{
		{
			"both families",
			"sockets: used 412\nTCP: inuse 31 orphan 2 tw 7 alloc 40 mem 3\nUDP: inuse 5 mem 2\nUDPLITE: inuse 9\nRAW: inuse 9\nFRAG: inuse 9 memory 9\n" +
				"TCP6: inuse 4\nUDP6: inuse 3\nUDPLITE6: inuse 9\nRAW6: inuse 9\nFRAG6: inuse 9 memory 9\n",
			Counts{TCP: 31 + 7 + 4, UDP: 5 + 3},
			4,
		},
		{"IPv4 alone", "TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 0\nUDP: inuse 0 mem 0\n", Counts{TCP: 1}, 2},
		{"empty", "", Counts{}, 0},
		{"no TIME_WAIT", "TCP: inuse 0 orphan 0\nUDP: inuse 0\n", Counts{}, 1},
		{"broken", "TCP\nTCP:\nTCP: inuse\nTCP: inuse x tw -3\nUDP inuse 4\n: inuse 5\nUDP: inuse 99999999999999999999\n", Counts{}, 0},
	} {
		if got, told := parseSockstat(c.text); got != c.want || told != c.told {
			t.Errorf("%s: %+v, told by %d lines, not %+v by %d", c.name, got, told, c.want, c.told)
		}
	}
}

// A new namespace counts only the sockets made in it.
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
	if c := count(); c != (Counts{Sure: true}) {
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
	if c := count(); c != (Counts{TCP: 2, UDP: 4, Sure: true}) {
		t.Errorf("2 listeners and 4 UDP sockets: %+v", c)
	}
}

// identity tells apart the sockets of /proc/net, which can show one twice.
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

// Every socket that /proc/net lists is counted once, including TIME_WAIT and orphans, but
// not SYN_RECV.
func TestSockstatStates(t *testing.T) {
	socklab.Need(t)
	f := New("")
	for _, k := range socklab.Kinds() {
		socklab.Make(t, k, socklab.IPv4)
		socklab.Make(t, k, socklab.IPv6)
	}
	socklab.WaitFor(t, "the counts to fit", func() bool { // sockets end in between
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
		want.Sure = true
		return got == want && own == want && want.TCP >= 2*16 && want.UDP >= 4
	})
	if _, err := f.SockstatOf(1<<22 + 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of no process: %v", err)
	}
}

// If the kernel leaves something out, what seems empty may not be.
func TestSockstatUnsure(t *testing.T) {
	const (
		four = "sockets: used 0\nTCP: inuse 0 orphan 0 tw 0 alloc 0 mem 0\nUDP: inuse 0 mem 0\nUDPLITE: inuse 0\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n"
		six  = "TCP6: inuse 0\nUDP6: inuse 0\nUDPLITE6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n"
		at   = "thread-self/net/sockstat"
	)
	for what, c := range map[string]struct {
		files map[string]string
		sure  bool
	}{
		"both":           {map[string]string{at: four, at + "6": six}, true},
		"without IPv6":   {map[string]string{at: four}, true},
		"no UDP6":        {map[string]string{at: four, at + "6": "TCP6: inuse 0\n"}, false},
		"empty of IPv6":  {map[string]string{at: four, at + "6": ""}, false},
		"IPv6 no number": {map[string]string{at: four, at + "6": "TCP6: inuse -\nUDP6: inuse 0\n"}, false},
		"empty":          {map[string]string{at: "", at + "6": six}, false},
		"unreadable":     {map[string]string{at: four, at + "6/x": ""}, false}, // a directory
	} {
		got, err := New(tree(t, c.files)).Sockstat()
		if err != nil || got != (Counts{Sure: c.sure}) {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
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
