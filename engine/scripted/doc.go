// Package scripted is an invented world: sockets, processes and a clock that moves only
// when told to. The engine runs in it without root and without a kernel.
//
// Comes in: sockets, their holders, the outcomes of actions. Goes out: a world.World, a
// source and actions for an engine. It knows nothing about kernels: tests of what they do
// use real ones.
package scripted
