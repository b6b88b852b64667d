package sockdiag

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// whole asks for MPTCP connections, with their tokens.
var whole = collectors.Query{Protocols: []collectors.Protocol{collectors.MPTCP}, States: collectors.AllStates, Fields: collectors.InfoFields()}

func cookieOf(t *testing.T, fd int) uint64 {
	t.Helper()
	cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
	must(t, "cookie", err)
	return cookie
}

// byCookie returns the record with the cookie of a descriptor's socket.
func byCookie(t *testing.T, all []collectors.Socket, fd int) *collectors.Socket {
	t.Helper()
	cookie := cookieOf(t, fd)
	i := slices.IndexFunc(all, func(s collectors.Socket) bool { return s.Cookie == cookie })
	if i < 0 {
		return nil
	}
	return &all[i]
}

// MPTCP connections are shown as such in both families, with the token that their
// subflows have as well, and a look-up finds them with or without it.
func TestMPTCP(t *testing.T) {
	n := socklab.NewNamespace(t, "mptcp")
	n.AddSubflows(t, netip.MustParseAddr("127.0.0.5"))
	for _, f := range []socklab.Family{socklab.IPv4, socklab.IPv6} {
		t.Run(string(f), func(t *testing.T) {
			l := socklab.ListenMPTCP(t, n, f)
			client, server := l.Dial(t)
			c := dialTest(t, n.FD())
			all := dumpTest(t, c, whole)
			s := byCookie(t, all, server.FD)
			if s == nil || s.Protocol != collectors.MPTCP || s.State != collectors.Established || s.Token == 0 ||
				s.LocalPort != l.Addr.Port() || s.RemotePort != client.Local.Port() || s.Inode == 0 {
				t.Fatalf("the server's end: %+v", s)
			}
			if unproven := collectors.Fields(collectors.FieldIdle, collectors.FieldRecvQueue, collectors.FieldEOFRead, collectors.FieldTimer); s.Known.Meets(unproven) {
				t.Errorf("known of a connection: %s", s.Known)
			}
			listener := byCookie(t, all, l.FD)
			if listener == nil || listener.State != collectors.Listen || listener.Token != 0 || listener.Known.Has(collectors.FieldMPTCPToken) ||
				!listener.Known.Has(collectors.FieldRecvQueue) {
				t.Errorf("the listener: %+v", listener)
			}
			subflows := 1
			if f == socklab.IPv4 {
				subflows = 2
			}
			var tokens []uint32
			socklab.WaitFor(t, "the subflows", func() bool {
				tokens = nil
				for _, sub := range dumpTest(t, c, everything) {
					if sub.Subflow && sub.LocalPort == l.Addr.Port() {
						tokens = append(tokens, sub.Token)
					}
				}
				return len(tokens) == subflows
			})
			if slices.ContainsFunc(tokens, func(token uint32) bool { return token != s.Token }) {
				t.Errorf("tokens of subflows %x, of the connection %x", tokens, s.Token)
			}
			without := *s
			without.Token = 0
			reused := *s // by a later connection
			reused.Token = byCookie(t, all, client.FD).Token
			for _, asked := range []*collectors.Socket{s, &without, &reused, listener} {
				if now, err := c.Get(t.Context(), asked); err != nil || now.Cookie != asked.Cookie || now.State != asked.State || now.NetNS != c.NetNS() {
					t.Errorf("get: %+v, %v", now, err)
				}
			}
			must(t, "shutdown", unix.Shutdown(client.FD, unix.SHUT_WR))
			socklab.WaitFor(t, "CLOSE_WAIT", func() bool {
				now, err := c.Get(t.Context(), s)
				return err == nil && now.State == collectors.CloseWait
			})
		})
	}
}

// Many sockets of all protocols are looked up at a time.
func TestMPTCPAmongOthers(t *testing.T) {
	n := socklab.NewNamespace(t, "mptcp")
	l := socklab.ListenMPTCP(t, n, socklab.IPv4)
	var fds []int
	for range 70 { // more than one batch
		client, server := l.Dial(t)
		fds = append(fds, client.FD, server.FD)
	}
	c := dialTest(t, n.FD())
	all := dumpTest(t, c, whole)
	tcp := dumpTest(t, c, everything)
	var asked []*collectors.Socket
	for i, fd := range fds {
		s := byCookie(t, all, fd)
		if i%3 == 0 {
			s.Token = 0
		}
		asked = append(asked, s, &tcp[i])
	}
	gone := *asked[0]
	gone.Cookie, gone.Token = 1<<60, 0
	asked = append(asked, &gone)
	now, errs := c.GetAll(t.Context(), asked)
	for i, s := range asked[:len(asked)-1] {
		if errs[i] != nil || now[i].Cookie != s.Cookie || now[i].Protocol != s.Protocol || now[i].NetNS != c.NetNS() {
			t.Fatalf("%d, %+v: %+v, %v", i, s, now[i], errs[i])
		}
	}
	if err := errs[len(errs)-1]; !errors.Is(err, collectors.ErrGone) {
		t.Errorf("one that is not there: %v", err)
	}
}

// Nothing is asked of the kernel that it cannot do, and nothing else is destroyed
// instead.
func TestMPTCPIsNotDestroyed(t *testing.T) {
	n := socklab.NewNamespace(t, "mptcp")
	client, server := socklab.ListenMPTCP(t, n, socklab.IPv4).Dial(t)
	c := dialTest(t, n.FD())
	s := byCookie(t, dumpTest(t, c, whole), server.FD)
	if err := c.Destroy(t.Context(), s); !errors.Is(err, collectors.ErrNotSupported) {
		t.Errorf("destroy: %v", err)
	}
	if errs := c.DestroyAll(t.Context(), []*collectors.Socket{s}); !errors.Is(errs[0], collectors.ErrNotSupported) {
		t.Errorf("destroy many: %v", errs)
	}
	if _, err := c.execute(t.Context(), typeDestroy, 4, exactRequest(s)); !errors.Is(err, collectors.ErrNotSupported) { // NLM_F_ACK
		t.Errorf("the kernel says %v", err)
	}
	for _, fd := range []int{client.FD, server.FD} {
		if byCookie(t, dumpTest(t, c, whole), fd) == nil {
			t.Error("it is gone")
		}
	}
}

// The kernel's filter also works for MPTCP.
func TestMPTCPFilter(t *testing.T) {
	n := socklab.NewNamespace(t, "mptcp")
	l := socklab.ListenMPTCP(t, n, socklab.IPv6)
	client, server := l.Dial(t)
	c := dialTest(t, n.FD())
	q := whole
	q.Clauses = []collectors.Clause{{States: collectors.Mask(collectors.Established), Local: []collectors.PortRange{{Low: l.Addr.Port(), High: l.Addr.Port()}}}}
	all := dumpTest(t, c, q)
	if len(all) != 1 || all[0].Cookie != cookieOf(t, server.FD) || all[0].RemotePort != client.Local.Port() {
		t.Errorf("found %+v", all)
	}
}

// As Linux 6.18 sent it.
const mptcpInfo618 = "000000020000000002000000848d828149f4d55f4764a86449f4d55f4764a86457ff68c1611eb66d" +
	"0000000000000000000000000000000000000000000000000000000000000000000000000000000001000000680000006800000068000000"

func TestDecodeMPTCP(t *testing.T) {
	info, err := hex.DecodeString(mptcpInfo618)
	must(t, "hex", err)
	body := aRecord(t, collectors.Established)[:msgLen]
	for n, want := range map[int]uint32{len(info): 0x81828d84, 16: 0x81828d84, 15: 0, 0: 0} {
		var s collectors.Socket
		must(t, "decode", decode(append(slices.Clone(body), attr(attrInfo, info[:n])...), collectors.MPTCP, &s))
		if s.Token != want || s.Known.Has(collectors.FieldMPTCPToken) != (want != 0) || s.Info != (collectors.TCPInfo{}) {
			t.Errorf("%d bytes: %+v", n, s)
		}
	}
	mptcp := attr(0x8000|ulpInfoMPTCP, slices.Concat(attr(1, []byte{1, 2, 3, 4}), attr(subflowToken, ne.AppendUint32(nil, 0xcafe))))
	var s collectors.Socket
	must(t, "decode", decode(append(slices.Clone(body), attr(0x8000|attrULPInfo, mptcp)...), collectors.TCP, &s))
	if !s.Subflow || s.Token != 0xcafe || !s.Known.Has(collectors.FieldMPTCPToken) {
		t.Errorf("a subflow: %+v", s)
	}
}

// Kernels before 5.9 do not know the attribute that names the protocol. What they read
// instead must not match anything of theirs.
func TestMPTCPRequest(t *testing.T) {
	s := collectors.Socket{Protocol: collectors.MPTCP, Family: collectors.IPv4, Token: 0xcafe, Cookie: 0xbad}
	for _, b := range [][]byte{exactRequest(&s), dumpRequest(collectors.IPv4, collectors.MPTCP, collectors.AllStates, extInfo, nil)} {
		want := ne.AppendUint32(ne.AppendUint16(ne.AppendUint16(nil, 8), attrProtocol), 262)
		if b[1] != 0 || len(b) != reqLen+8 || !slices.Equal(b[reqLen:], want) {
			t.Errorf("%x", b)
		}
	}
	if token := ne.Uint32(exactRequest(&s)[48:]); token != 0xcafe {
		t.Errorf("token %x", token)
	}
}
