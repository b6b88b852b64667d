// Package memory is what the engine knows from one cycle to the next: since when
// sockets have been seen in their states, since when rules have matched, what cools
// down, what has tripped. It keeps that in the state file between runs.
//
// Comes in: what a cycle saw and did. Goes out: ages that looks of our own have proven,
// times and counts. It decides nothing.
package memory
