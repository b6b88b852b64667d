// Package bpf runs small BPF programs in the kernel that answer what sock_diag and /proc
// answer slowly or not at all: which descriptors of which processes are sockets (Owners),
// and when a TCP socket entered its state (Events). It writes the programs in BPF
// assembler and adapts them to the running kernel by its type information (BTF): no
// compiler, no headers.
//
// Comes in: the states that matter. Goes out: Holder and Entry records, which name
// sockets by the inode and the cookie that sock_diag shows, or one of the errors of
// package collectors, which tells the caller to do without.
//
// It starts no goroutines, describes no processes, and sees every network namespace of
// the machine without telling them apart. Events knows nothing about the time before it
// was opened and forgets what does not fit; it never makes a socket older than it is.
// Nothing is pinned: when the process ends, the kernel removes everything.
//
// Loading takes CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN. Owners needs Linux 5.11,
// Events Linux 5.12. Kernel facts in comments were seen on Linux 6.18 unless they name
// another version.
package bpf
