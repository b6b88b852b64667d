package procfs

// FS is a tree such as /proc, with all that it is asked. Each part answers one
// question; who asks only one needs only that part. Of its methods only PIDs and
// Search are safe for concurrent use.
type FS struct {
	mount
	*Processes   // what is a process
	*Descriptors // which sockets does a process hold
	*Walk        // who holds a socket
	Sight        // what cannot be seen
	Network      // how many sockets are there, and how is the network set
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
