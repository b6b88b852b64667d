//go:build race

package rules

// raceDetector says that the race detector is on, which takes several times the memory.
const raceDetector = true
