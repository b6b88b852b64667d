// Package watch is the loop: when the next cycle comes, when the rules are read again,
// and what a watcher says of itself.
//
// Comes in: the parts of an engine, a way to load rules. Goes out: cycles, until it is
// told to stop. What a cycle finds and does is decided elsewhere.
package watch
