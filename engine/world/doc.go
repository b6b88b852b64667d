// Package world is the engine's only door to the host: its clock, network namespaces,
// sockets, processes, container engines and kernel events.
//
// Comes in: the engine's questions. Goes out: the host's answers, as values of
// collectors. Linux is the real host; replays and tests put a recorded or scripted one in
// its place. It makes no decisions.
package world
