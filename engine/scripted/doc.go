// Package scripted is a world that is made up: sockets, processes and a clock that only
// moves when it is told to. The engine runs in it without root and without a kernel.
//
// Comes in: sockets, who holds them, what actions come to. Goes out: a world.World, a
// source and actions for an engine. It knows nothing of kernels: what they do is tested
// with them.
package scripted
