package engine

import (
	"time"

	"sockwarden/engine/world"
)

// store writes memory into the state file.
type store struct {
	state  *stateFile
	memory *memory
	clock  world.Clock
	saved  float64       // when it was written last, CLOCK_MONOTONIC, 0 for never
	every  time.Duration // observations are kept at least this often
}

// save writes the state file.
func (k *store) save() error {
	k.saved, k.memory.urgent = k.clock.Mono(), false
	return k.state.write(k.memory)
}

// whenDue writes it if that was not done for some time, or cannot wait.
func (k *store) whenDue(now float64) error {
	if !k.memory.urgent && k.saved > 0 && now-k.saved < k.every.Seconds() {
		return nil
	}
	return k.save()
}
