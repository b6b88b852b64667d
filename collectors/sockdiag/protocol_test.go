package sockdiag

import (
	"errors"
	"testing"

	"github.com/mdlayher/netlink"
	"github.com/mdlayher/netlink/nltest"
	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// answer connects to a kernel that answers every request with f.
func answer(t *testing.T, f nltest.Func) *Conn {
	t.Helper()
	nl := nltest.Dial(f)
	t.Cleanup(func() { _ = nl.Close() })
	return &Conn{nl: nl}
}

func TestErrnos(t *testing.T) {
	s := collectors.Socket{Protocol: collectors.TCP, Family: collectors.IPv4, State: collectors.CloseWait, Cookie: 7}
	for errno, want := range map[unix.Errno]error{
		unix.ENOENT:          collectors.ErrGone,
		unix.ESTALE:          collectors.ErrGone,
		unix.EPERM:           collectors.ErrNotPermitted,
		unix.EACCES:          collectors.ErrNotPermitted,
		unix.EOPNOTSUPP:      collectors.ErrNotSupported,
		unix.EPROTONOSUPPORT: collectors.ErrNotSupported,
		unix.EINVAL:          unix.EINVAL,
	} {
		c := answer(t, func(req []netlink.Message) ([]netlink.Message, error) {
			return nltest.Error(int(errno), req)
		})
		if err := c.Destroy(t.Context(), &s); !errors.Is(err, want) || !errors.Is(err, errno) {
			t.Errorf("destroy, %v: %v", errno, err)
		}
		if _, err := c.Get(t.Context(), &s); !errors.Is(err, want) {
			t.Errorf("get, %v: %v", errno, err)
		}
		err, can := c.Supported(t.Context()), errors.Is(want, collectors.ErrGone) || errors.Is(want, collectors.ErrNotPermitted)
		if can && err != nil || !can && !errors.Is(err, want) {
			t.Errorf("supported, %v: %v", errno, err)
		}
	}
}

// The request identifies the socket by everything known about it.
func TestDestroyRequest(t *testing.T) {
	s := collectors.Socket{
		Protocol: collectors.TCP, Family: collectors.IPv6, State: collectors.CloseWait, Cookie: 0x1122334455667788, IfIndex: 9,
		Local: collectors.Addr{0: 0xfe, 15: 1}, Remote: collectors.Addr{0: 0xfe, 15: 2}, LocalPort: 0x0102, RemotePort: 0x0304,
	}
	c := answer(t, func(req []netlink.Message) ([]netlink.Message, error) {
		m := req[0]
		if m.Header.Type != 21 || m.Header.Flags != netlink.Request|netlink.Acknowledge || len(m.Data) != 56 {
			t.Errorf("header %+v, %d bytes", m.Header, len(m.Data))
		}
		b := m.Data
		if b[0] != unix.AF_INET6 || b[1] != 6 || string(b[8:12]) != "\x01\x02\x03\x04" || b[12] != 0xfe || b[27] != 1 || b[28] != 0xfe || b[43] != 2 ||
			ne.Uint32(b[44:]) != 9 || ne.Uint32(b[48:]) != 0x55667788 || ne.Uint32(b[52:]) != 0x11223344 {
			t.Errorf("request % x", b)
		}
		return nltest.Error(0, req)
	})
	if err := c.Destroy(t.Context(), &s); err != nil {
		t.Error(err)
	}
}

func TestGetWithoutRecord(t *testing.T) {
	s := collectors.Socket{Protocol: collectors.TCP, Family: collectors.IPv4, Cookie: 7}
	for name, body := range map[string][]byte{"none": nil, "short": make([]byte, 71)} {
		c := answer(t, func(req []netlink.Message) ([]netlink.Message, error) {
			if body == nil {
				return nil, nil
			}
			h := req[0].Header
			return []netlink.Message{{Header: h, Data: body}}, nil
		})
		if _, err := c.Get(t.Context(), &s); err == nil || errors.Is(err, collectors.ErrGone) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
