// Package procfs reads what /proc knows about sockets: which processes hold
// them (by the inode that sock_diag shows), who those processes are, how many
// sockets there are, and, where netlink is refused, /proc/net as a source of
// records for listing.
//
// Comes in: a tree such as /proc, whose text is hostile (process names and
// arguments are what their programs like). Goes out: Owners and Socket records.
// It starts no goroutines: who wants to search with several divides PIDs between
// calls of Search, puts together what they found, and gives that to Owners.
//
// Records of /proc/net have no cookie, so nothing that it finds is acted on.
package procfs
