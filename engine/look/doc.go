// Package look finds the sockets that rules may match, and what can be known of them:
// ages, owners, listeners, namespaces, and what would die with a process.
//
// Comes in: what is wanted, a program of rules and a plan for the kernel. Goes out: a
// Picture of candidates. What becomes of them is decided elsewhere; nothing on the host
// is changed.
package look
