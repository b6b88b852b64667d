// Package host says which machine this is and what this process may do on it: the kernel
// release, the boot, the clocks that count from it, capabilities and initial namespaces.
//
// Comes in: nothing, or what to ask about. Goes out: plain values, read from the kernel
// on each call. It caches, changes and explains nothing: callers know what follows from
// an answer.
package host
