package procfs

// FS is a tree such as /proc. Each part answers one question; callers that ask only one
// need only that part. Only the methods PIDs and Search are safe for concurrent use.
type FS struct {
	mount
	*Processes   // what is a process
	*Descriptors // which sockets does a process hold
	*Walk        // who holds a socket
	Sight        // what the tree hides
	Network      // how many sockets there are, and how the network is set
}

// New returns an FS for the tree at root, "" for /proc.
func New(root string) *FS {
	if root == "" {
		root = "/proc"
	}
	m := mount{root}
	ps := &Processes{mount: m}
	return &FS{mount: m, Processes: ps, Descriptors: &Descriptors{mount: m}, Walk: &Walk{mount: m, processes: ps}, Sight: Sight{m}, Network: Network{m}}
}
