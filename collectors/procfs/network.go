package procfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Network counts the sockets of a network namespace and reads its settings.
type Network struct{ mount }

// EphemeralPorts returns the range from which the namespace of the calling
// thread takes local ports (net.ipv4.ip_local_port_range).
func (n Network) EphemeralPorts() (low, high uint16, err error) {
	b, err := os.ReadFile(n.path("sys/net/ipv4/ip_local_port_range"))
	if err != nil {
		return 0, 0, fmt.Errorf("ephemeral ports: %w", err)
	}
	if _, err := fmt.Sscan(string(b), &low, &high); err != nil {
		return 0, 0, fmt.Errorf("ephemeral ports: %w", err)
	}
	return low, high, nil
}

// AcceptsVRF reports whether a listener on all devices, in the calling thread's
// namespace, takes what comes in through a VRF (net.ipv4.tcp_l3mdev_accept). It is true
// if that cannot be read.
func (n Network) AcceptsVRF() bool { return n.isSet("sys/net/ipv4/tcp_l3mdev_accept") }

// BindsAny reports whether, in the namespace of the calling thread, every program may bind
// sockets of IPv4, or IPv6, to addresses that are not there (net.ipv4.ip_nonlocal_bind and
// that of IPv6); also if that cannot be read.
func (n Network) BindsAny() (v4, v6 bool) {
	return n.isSet("sys/net/ipv4/ip_nonlocal_bind"), n.isSet("sys/net/ipv6/ip_nonlocal_bind")
}

// isSet reports whether a setting is there and not zero, or cannot be read.
func (n Network) isSet(path string) bool {
	b, err := os.ReadFile(n.path(path))
	return err != nil && !errors.Is(err, fs.ErrNotExist) || err == nil && strings.TrimSpace(string(b)) != "0"
}

// InitialNetwork reports whether the calling thread's namespace is, or may be, the one
// that the machine started with: only that one has the settings of all devices
// (net.core.netdev_max_backlog).
func (n Network) InitialNetwork() bool {
	if _, err := os.Stat(n.path("sys/net/core/netdev_max_backlog")); err == nil {
		return true
	}
	_, err := os.Stat(n.path("sys/net/core/somaxconn"))
	return err != nil
}
