// Package world is the only door of the engine to the host: its clock, network
// namespaces, sockets, processes, container engines and the events of its kernel.
//
// Comes in: what the engine asks. Goes out: what the host answers, as values of
// collectors. Linux is the real one; a recorded or a scripted one takes its place in
// replays and tests. What is decided by an answer is not decided here.
package world
