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
	saved  float64       // when it was written last, CLOCK_MONOTONIC, 0 for never
	Every  time.Duration // observations are kept at least this often
}

// Save writes the state file.
func (k *Store) Save() error {
	k.saved, k.Memory.Urgent = k.Clock.Mono(), false
	return k.State.Write(k.Memory)
}

// WhenDue writes it if that was not done for some time, or cannot wait.
func (k *Store) WhenDue(now float64) error {
	if !k.Memory.Urgent && k.saved > 0 && now-k.saved < k.Every.Seconds() {
		return nil
	}
	return k.Save()
}
