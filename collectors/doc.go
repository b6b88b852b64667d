// Package collectors defines what a socket is to sockwarden: the record that the kernel
// shows (Socket), what the engine finds out about it afterwards (Facts, Owner), the
// fields that conditions read, and the contract that every source of records keeps.
//
// Comes in: kernel bytes, by way of the sub-packages. Goes out: plain values. It decides
// nothing and changes nothing on the host.
package collectors
