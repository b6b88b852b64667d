package procnet

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// readTestdata reads a file copied from a real kernel.
func readTestdata(t testing.TB, name string, kind table) (all []collectors.Socket) {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	must(t, "open", err)
	defer f.Close()
	readNet(t.Context(), f, kind, collectors.AllStates, func(s *collectors.Socket, err error) bool {
		must(t, name, err)
		all = append(all, *s)
		return true
	})
	return all
}

// netLine is what a record of testdata should be, beyond protocol and family.
type netLine struct {
	state         collectors.State
	local, remote string
	recv, send    uint32
	timer         collectors.Timer
	expires       uint32
	retransmits   uint8
	uid, inode    uint32
}

func TestRecorded(t *testing.T) {
	for name, want := range map[string][]netLine{
		"tcp-6.18": {
			{state: collectors.Listen, local: "10.9.0.1:41955", remote: "0.0.0.0:0", inode: 781868},
			{state: collectors.Listen, local: "10.9.0.1:43285", remote: "0.0.0.0:0", inode: 781867},
			{state: collectors.FinWait1, local: "10.9.0.1:49928", remote: "10.9.0.2:42945", send: 1, timer: collectors.TimerRetransmit, expires: 170, inode: 783182},
			{state: collectors.TimeWait, local: "10.9.0.1:55456", remote: "10.9.0.2:44611", timer: collectors.TimerTimeWait, expires: 59960},
			{state: collectors.CloseWait, local: "10.9.0.1:57376", remote: "10.9.0.2:34823", recv: 11, uid: 65534, inode: 781873},
			{state: collectors.LastAck, local: "10.9.0.1:34292", remote: "10.9.0.2:43077", recv: 1, send: 1, timer: collectors.TimerRetransmit, expires: 170},
			{state: collectors.SynRecv, local: "10.9.0.1:41955", remote: "10.9.0.2:52034", timer: collectors.TimerRetransmit, expires: 950},
		},
		"tcp6-6.18": {
			{state: collectors.Listen, local: "[fd00:9::1]:46113", remote: "[::]:0", inode: 783187},
			{state: collectors.Listen, local: "[fd00:9::1]:38169", remote: "[::]:0", inode: 783188},
			{state: collectors.SynRecv, local: "[fd00:9::1]:38169", remote: "[fd00:9::2]:38796", timer: collectors.TimerRetransmit, expires: 970},
			{state: collectors.TimeWait, local: "[fd00:9::1]:37240", remote: "[fd00:9::2]:33163", timer: collectors.TimerTimeWait, expires: 59980},
			{state: collectors.CloseWait, local: "[fd00:9::1]:41910", remote: "[fd00:9::2]:46629", recv: 11, uid: 65534, inode: 783191},
			{state: collectors.CloseWait, local: "10.9.0.1:33474", remote: "10.9.0.2:39343", recv: 11, uid: 65534, inode: 784021},
			{
				state: collectors.FinWait1, local: "[fd00:9::1]:60698", remote: "[fd00:9::2]:45641", send: 1,
				timer: collectors.TimerRetransmit, expires: 190, inode: 784015,
			},
			{state: collectors.LastAck, local: "[fd00:9::1]:35576", remote: "[fd00:9::2]:33971", recv: 1, send: 1, timer: collectors.TimerRetransmit, expires: 190},
		},
		"udp-6.18": {
			{state: collectors.Close, local: "10.9.0.1:49808", remote: "0.0.0.0:0", inode: 783184},
			{state: collectors.Established, local: "10.9.0.1:54965", remote: "10.9.0.2:43883", inode: 783185},
		},
		"udp6-6.18": {
			{state: collectors.Established, local: "10.9.0.1:55756", remote: "10.9.0.2:48054", inode: 785404},
			{state: collectors.Established, local: "[fd00:9::1]:39707", remote: "[fd00:9::2]:36787", inode: 784018},
			{state: collectors.Close, local: "[fd00:9::1]:60677", remote: "[::]:0", inode: 784017},
		},
	} {
		kind := table{collectors.TCP, collectors.IPv4}
		if strings.HasPrefix(name, "udp") {
			kind.protocol = collectors.UDP
		}
		if strings.Contains(name, "6-") {
			kind.family = collectors.IPv6
		}
		got := readTestdata(t, name, kind)
		if len(got) != len(want) {
			t.Fatalf("%s: %d records, not %d", name, len(got), len(want))
		}
		for i, s := range got {
			w := want[i]
			l, r := netip.AddrPortFrom(s.Local.Netip(), s.LocalPort), netip.AddrPortFrom(s.Remote.Netip(), s.RemotePort)
			is := netLine{s.State, l.String(), r.String(), s.RecvQueue, s.SendQueue, s.Timer, s.TimerExpires, s.Retransmits, s.UID, s.Inode}
			if is != w {
				t.Errorf("%s, record %d:\n%+v, not\n%+v", name, i, is, w)
			}
			checkNet(t, &s)
			if s.Protocol != kind.protocol || s.Family != kind.family {
				t.Errorf("%s, record %d: %s, family %d", name, i, s.Protocol, s.Family)
			}
		}
	}
}

// checkNet checks what all records of /proc/net have in common.
func checkNet(t testing.TB, s *collectors.Socket) {
	t.Helper()
	may := netKnown.Or(netOwnerless).Or(collectors.Fields(collectors.FieldUID))
	if s.Cookie != 0 || !s.Known.AndNot(may).Empty() || s.Known.Meets(collectors.InfoFields()) {
		t.Errorf("cookie %x, known %s", s.Cookie, s.Known)
	}
	if s.Known.Has(collectors.FieldUID) != (s.Inode != 0) || s.Known.Has(collectors.FieldOwners) != (s.Inode == 0) {
		t.Errorf("inode %d: uid known %t, owners known %t", s.Inode, s.Known.Has(collectors.FieldUID), s.Known.Has(collectors.FieldOwners))
	}
	if s.Known.Has(collectors.FieldSendQueue) != (s.State != collectors.Listen) {
		t.Errorf("%s: send_queue is known: %t", s.State, s.Known.Has(collectors.FieldSendQueue))
	}
	r := collectors.NewRecord(s, &collectors.Namespace{Name: "host", Interfaces: map[uint32]string{1: "lo"}}, nil, nil, "")
	m := collectors.Map(&r)
	for _, name := range []string{"interface", "cookie", "age", "rtt"} {
		if v, ok := m[name]; ok {
			t.Errorf("%s is known: %v", name, v)
		}
	}
}

const goodLine = "   0: 0100007F:53A4 0200007F:0016 08 00000001:0000000B 02:00000064 00000000  1000        2 31337 1 0000000000000000 100 0 0 10 0"

// Malformed lines are errors.
func TestBrokenLines(t *testing.T) {
	var s collectors.Socket
	tcp := table{collectors.TCP, collectors.IPv4}
	err := parseNet(goodLine, tcp, &s)
	if err != nil || s.LocalPort != 21412 || s.UID != 1000 || s.Inode != 31337 || s.Retransmits != 2 || s.TimerExpires != 1000 {
		t.Errorf("good: %+v, %v", s, err)
	}
	for name, change := range map[string][2]string{
		"short":             {" 31337 1 0000000000000000 100 0 0 10 0", ""},
		"local address":     {"0100007F:53A4", "0100007G:53A4"},
		"address length":    {"0100007F:53A4", "01007F:53A4"},
		"no port":           {"0100007F:53A4", "0100007F53A4"},
		"port":              {"0100007F:53A4", "0100007F:153A4"},
		"remote address":    {"0200007F:0016", ":"},
		"state":             {" 08 ", " 108 "},
		"no queues":         {"00000001:0000000B", "000000010000000B"},
		"send queue":        {"00000001:0000000B", "x:0000000B"},
		"receive queue":     {"00000001:0000000B", "00000001:10000000B"},
		"timer":             {"02:00000064", "-2:00000064"},
		"timer expires":     {"02:00000064", "02:"},
		"probes":            {"       2 31337", "      -2 31337"},
		"uid":               {" 1000 ", " root "},
		"uid out of range":  {" 1000 ", " 4294967296 "},
		"inode":             {" 31337 ", " -1 "},
		"inode is too long": {" 31337 ", " 4294967296 "},
	} {
		line := strings.Replace(goodLine, change[0], change[1], 1)
		if line == goodLine {
			t.Fatalf("%s: the line is not changed", name)
		}
		if err := parseNet(line, tcp, &s); err == nil {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if err := parseNet("", tcp, &s); err == nil {
		t.Error("empty line")
	}
}

// An error ends the stream after the valid records, and names the file.
func TestBrokenFile(t *testing.T) {
	const heading = "  sl  local_address rem_address   st\n"
	for name, file := range map[string]string{
		"broken line": heading + goodLine + "\n" + "garbage\n" + goodLine + "\n",
		"endless":     heading + goodLine + "\n" + strings.Repeat("0", 1<<17) + "\n",
	} {
		n, last := 0, error(nil)
		udp6 := table{collectors.UDP, collectors.IPv6}
		more := readNet(t.Context(), strings.NewReader(file), udp6, collectors.AllStates, func(_ *collectors.Socket, err error) bool {
			n, last = n+1, err
			return true
		})
		if more || n != 2 || last == nil || !strings.Contains(last.Error(), "/proc/net/udp6") {
			t.Errorf("%s: %d records, %v", name, n, last)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	readNet(ctx, strings.NewReader(heading+goodLine), table{collectors.TCP, collectors.IPv4}, collectors.AllStates, func(s *collectors.Socket, err error) bool {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v, %v", s, err)
		}
		return true
	})
}

func TestStatesAreFiltered(t *testing.T) {
	f, err := os.Open("testdata/tcp-6.18")
	must(t, "open", err)
	defer f.Close()
	n := 0
	wanted := collectors.Mask(collectors.CloseWait, collectors.LastAck)
	readNet(t.Context(), f, table{collectors.TCP, collectors.IPv4}, wanted, func(s *collectors.Socket, err error) bool {
		if n++; err != nil || s.State != collectors.CloseWait && s.State != collectors.LastAck {
			t.Errorf("%+v, %v", s, err)
		}
		return true
	})
	if n != 2 {
		t.Errorf("%d records", n)
	}
}

// Without IPv6 its files are missing; if those of IPv4 are missing, something is wrong.
func TestMissingFiles(t *testing.T) {
	b, err := os.ReadFile("testdata/tcp-6.18")
	must(t, "read", err)
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP, collectors.UDP}, States: collectors.AllStates}
	n, last := 0, error(nil)
	root := t.TempDir()
	must(t, "mkdir", os.MkdirAll(filepath.Join(root, "thread-self/net"), 0o755))
	must(t, "write", os.WriteFile(filepath.Join(root, "thread-self/net/tcp"), b, 0o644))
	for s, err := range (netFiles{netns: -1, root: root}).Collect(t.Context(), q) {
		if last = err; s != nil {
			n++
		}
	}
	if n != 7 || !errors.Is(last, os.ErrNotExist) {
		t.Errorf("%d records, %v", n, last)
	}
}

// An abandoned stream leaves nothing behind.
func TestAbandoned(t *testing.T) {
	leakCheck(t)
	socklab.Make(t, socklab.Established, socklab.IPv4)
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.AllStates}
	for range 10 {
		for _, err := range Plugin().New(socklab.Home(t).FD()).Collect(t.Context(), q) {
			must(t, "collect", err)
			break
		}
	}
}
