// Package bpf asks the kernel by small BPF programs what sock_diag and /proc
// say only slowly or not at all: which descriptors of which processes are
// sockets (Owners), and when a TCP socket entered its state (Events). The
// programs are written in BPF assembler here and fitted to the running kernel
// by its type information (BTF): no compiler and no headers are needed.
//
// Comes in: the states that are of interest. Goes out: Holder and Entry
// records, which name sockets by the inode and the cookie that sock_diag shows;
// or one of the errors of package collectors, which says to do without.
//
// It starts no goroutines, describes no processes, and sees every network
// namespace of the machine without telling them apart. Events knows nothing of
// what happened before it was opened, and forgets what does not fit; what it
// says is never older than the truth. Nothing is pinned: when the process ends,
// the kernel removes everything.
//
// Loading takes CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN. Owners needs Linux
// 5.11, Events Linux 5.12. Kernel facts in comments were seen on Linux 6.18
// unless they name another version.
package bpf
