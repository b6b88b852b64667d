package memory

import (
	"time"

	"sockwarden/engine/world"
)

// Store writes memory into the state file.
type Store struct {
	State  *StateFile
	Memory *Memory
	Clock  world.Clock
	saved  float64       // when it was last written, CLOCK_MONOTONIC, 0 for never
	Every  time.Duration // the longest time between two writes
}

// Save writes the state file.
func (k *Store) Save() error {
	k.saved, k.Memory.Urgent = k.Clock.Mono(), false
	return k.State.Write(k.Memory)
}

// WhenDue writes the file if the last time was long enough ago, or if memory is urgent.
func (k *Store) WhenDue(now float64) error {
	if !k.Memory.Urgent && k.saved > 0 && now-k.saved < k.Every.Seconds() {
		return nil
	}
	return k.Save()
}
