// Package procfs reads what /proc knows about sockets: which processes hold them (by the
// inode that sock_diag shows), who those processes are, and how many sockets there are.
// Package procnet reads /proc/net as a source of records.
//
// Comes in: a tree such as /proc. Its text is hostile: programs choose the names and
// arguments of their processes. Goes out: Owners.
//
// It starts no goroutines. To search in parallel, callers divide the PIDs among calls of
// Search, join what these find, and give that to Owners. Other users' processes take
// CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE.
package procfs
