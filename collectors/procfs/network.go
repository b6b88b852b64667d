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
func (n Network) AcceptsVRF() bool {
	b, err := os.ReadFile(n.path("sys/net/ipv4/tcp_l3mdev_accept"))
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
