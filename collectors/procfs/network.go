package procfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
)

// Counts is how many sockets a namespace has, by /proc/net/sockstat{,6}.
type Counts struct {
	TCP int // with orphans, listeners and TIME_WAIT
	UDP int
}

// Network counts the sockets of a network namespace and reads its settings.
type Network struct{ mount }

// Sockstat counts the sockets of the calling thread's namespace, without a walk through
// them.
func (n Network) Sockstat() (Counts, error) {
	return n.sockstat("thread-self")
}

// SockstatOf counts the sockets in the namespace of a process.
func (n Network) SockstatOf(pid int) (Counts, error) { return n.sockstat(strconv.Itoa(pid)) }

func (n Network) sockstat(who string) (Counts, error) {
	b, err := os.ReadFile(n.path(who, "net", "sockstat"))
	if err != nil {
		return Counts{}, fmt.Errorf("count sockets: %w", err)
	}
	// A kernel without IPv6 has no second file.
	b6, _ := os.ReadFile(n.path(who, "net", "sockstat6"))
	return parseSockstat(string(b) + string(b6)), nil
}

func parseSockstat(text string) Counts {
	var c Counts
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(line, ":")
		values := map[string]int{}
		f := strings.Fields(rest)
		for i := 0; i+1 < len(f); i += 2 {
			if n, err := strconv.Atoi(f[i+1]); err == nil && n >= 0 {
				values[f[i]] = n
			}
		}
		switch name {
		case "TCP", "TCP6":
			c.TCP += values["inuse"] + values["tw"]
		case "UDP", "UDP6":
			c.UDP += values["inuse"]
		}
	}
	return c
}

// EphemeralPorts returns the range from which the calling thread's namespace takes local
// ports (net.ipv4.ip_local_port_range).
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
