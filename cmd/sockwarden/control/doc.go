// Package control is the control socket of a watcher: HTTP with JSON over a Unix socket,
// and nothing over a network.
//
// Comes in: the board of a watcher, which shows its state and takes requests, and what
// clients ask. Goes out: documents, and changes that root or the watcher's own user wants.
// Whatever clients do, no cycle waits for them.
package control
