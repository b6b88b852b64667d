// Package collectors defines what a socket is to sockwarden: the record that
// the kernel gives (Socket), what is found out about it afterwards (Facts,
// Owner), the fields that conditions read, and the contract of the sources
// that produce records.
//
// Comes in: kernel bytes, by way of the sub-packages. Goes out: plain values.
// It decides nothing and it changes nothing on the host.
package collectors
