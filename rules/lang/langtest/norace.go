//go:build !race

package langtest

// Race says that the race detector is on, which takes several times the time and the memory.
const Race = false
