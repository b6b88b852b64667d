// Package sockdiag speaks NETLINK_SOCK_DIAG: it dumps the TCP and UDP sockets of a
// network namespace, looks up a single socket by its cookie, and destroys it.
//
// Comes in: a Query or a Socket. Goes out: Socket records, or one of the errors of
// package collectors. It keeps no state between calls and decides nothing: guards live in
// the engine.
//
// Kernel facts in comments were seen on Linux 6.18 unless they name another version.
package sockdiag
