// Package host says what machine this is and what this process may do on it: the
// release of the kernel, the boot, the clock that counts from it, capabilities
// and initial namespaces.
//
// Comes in: nothing, or what to ask about. Goes out: plain values, read from the
// kernel with each call. Nothing is cached, changed or explained: who asks knows
// what follows from the answer.
package host
