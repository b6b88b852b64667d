package host

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Capabilities is a set of capabilities.
type Capabilities uint64

// Effective returns the effective capabilities of the calling thread.
func Effective() (Capabilities, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return 0, fmt.Errorf("capabilities: %w", err)
	}
	return Capabilities(data[0].Effective) | Capabilities(data[1].Effective)<<32, nil
}

// Has reports whether a capability, such as unix.CAP_NET_ADMIN, is in the set.
func (c Capabilities) Has(number int) bool { return c&(1<<number) != 0 }

// HasCapability reports whether a capability is effective for the calling thread.
func HasCapability(number int) (bool, error) {
	c, err := Effective()
	return c.Has(number), err
}
