// Package procfs reads what /proc knows about sockets: which processes hold
// them (by the inode that sock_diag shows), who those processes are, and how many
// sockets there are. As a source of records /proc/net is package procnet.
//
// Comes in: a tree such as /proc, whose text is hostile (process names and
// arguments are what their programs like). Goes out: Owners.
// It starts no goroutines: who wants to search with several divides PIDs between
// calls of Search, puts together what they found, and gives that to Owners. Seeing
// other users' processes takes CAP_DAC_READ_SEARCH and CAP_SYS_PTRACE.
package procfs
