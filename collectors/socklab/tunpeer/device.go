package tunpeer

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

// Local is the kernel's address on the device.
func Local(v6 bool) netip.Addr {
	if v6 {
		return netip.MustParseAddr("fd00:99::1")
	}
	return netip.MustParseAddr("10.99.0.1")
}

// Peer is an address of the peer.
func Peer(v6 bool) netip.Addr { return Local(v6).Next() }

// Device is the TUN device with the peer behind it.
type Device struct {
	file *os.File

	mu    sync.Mutex
	conns map[[2]netip.AddrPort]*Conn // by the peer's end and the kernel's
	await map[netip.AddrPort]*Conn    // ends that wait for the kernel's SYN, by the peer's end
	port  uint16                      // the last port of the peer taken
}

// Open creates the device, until the end of the test. It skips the test where TUN devices
// are missing.
func Open(t testing.TB) *Device {
	t.Helper()
	socklab.Need(t)
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		socklab.Lacks(t, fmt.Errorf("open /dev/net/tun: %w", err))
	}
	name, err := attach(fd)
	if err != nil {
		_ = unix.Close(fd)
		socklab.Lacks(t, err)
	}
	d := &Device{file: os.NewFile(uintptr(fd), "tun"), conns: map[[2]netip.AddrPort]*Conn{}, await: map[netip.AddrPort]*Conn{}, port: 1024}
	done := make(chan struct{})
	go func() { d.read(); close(done) }()
	t.Cleanup(func() { _ = d.file.Close(); <-done })
	for _, args := range []string{
		"addr add " + Local(false).String() + "/24 dev " + name,
		"addr add " + Local(true).String() + "/64 dev " + name + " nodad",
		"link set " + name + " up",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	// Whatever nodad says, the kernel takes an IPv6 address into use only later, and
	// loses what comes before.
	socklab.WaitFor(t, "the address of IPv6 on "+name, func() bool { return isLocal(t, Local(true), name) })
	return d
}

// isLocal reports whether the kernel has the route that makes it accept packets for its
// own address on a device (table local, /proc/net/ipv6_route).
func isLocal(t testing.TB, a netip.Addr, device string) bool {
	t.Helper()
	routes, err := os.ReadFile("/proc/thread-self/net/ipv6_route")
	if err != nil {
		t.Fatalf("routes: %v", err)
	}
	b := a.As16()
	whole := hex.EncodeToString(b[:]) + " 80 " // a prefix of 128 bits
	for route := range strings.Lines(string(routes)) {
		if f := strings.Fields(route); strings.HasPrefix(route, whole) && f[len(f)-1] == device {
			return true
		}
	}
	return false
}

// attach creates the device of an open /dev/net/tun and returns its name.
func attach(fd int) (string, error) {
	req, err := unix.NewIfreq("peer%d")
	if err != nil {
		return "", fmt.Errorf("tun device: %w", err)
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return "", fmt.Errorf("tun device: %w", err)
	}
	return req.Name(), nil
}

// read passes what the kernel sends to the right Conn.
func (d *Device) read() {
	b := make([]byte, 1<<16)
	for {
		n, err := d.file.Read(b)
		if err != nil {
			if errors.Is(err, unix.EIO) { // it is not up yet
				continue
			}
			return
		}
		s, err := parse(b[:n])
		if err != nil {
			continue
		}
		if c := d.find(&s); c != nil {
			c.take(s)
		}
	}
}

func (d *Device) find(s *Segment) *Conn {
	d.mu.Lock()
	defer d.mu.Unlock()
	if c := d.conns[[2]netip.AddrPort{s.To, s.From}]; c != nil {
		return c
	}
	c := d.await[s.To]
	if c != nil && s.Flags&(SYN|ACK) == SYN {
		delete(d.await, s.To)
		c.mu.Lock()
		c.Kernel = s.From
		c.mu.Unlock()
		d.conns[[2]netip.AddrPort{s.To, s.From}] = c
		return c
	}
	return nil
}

// Send puts a segment on the wire.
func (d *Device) Send(s Segment) error {
	if _, err := d.file.Write(s.packet()); err != nil {
		return fmt.Errorf("send a segment: %w", err)
	}
	return nil
}

// newPort returns a port of the peer that has not been used for long.
func (d *Device) newPort() uint16 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.port++; d.port < 1024 {
		d.port = 1024
	}
	return d.port
}
