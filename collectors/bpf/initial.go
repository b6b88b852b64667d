package bpf

import (
	"fmt"

	"sockwarden/collectors"
	"sockwarden/collectors/host"
)

// inInitial returns ErrNotSupported unless this process is in an initial namespace:
// programs in the kernel see everything from there.
func inInitial(n host.Initial) error {
	is, err := n.In()
	if err != nil {
		return fmt.Errorf("%w: %w", collectors.ErrNotSupported, err)
	}
	if !is {
		return fmt.Errorf("this process is not in the initial %s namespace: %w", n, collectors.ErrNotSupported)
	}
	return nil
}
