package procfs

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/host"
)

// Sight says what the tree hides from every reader.
type Sight struct{ mount }

// Coverage says which processes the tree cannot show, whatever the reader may do. Sockets
// of a process that it does not show seem to have no owner, or only their other owners.
type Coverage struct {
	// HidePID is how the mount hides processes, such as "hidepid=invisible" or
	// "unknown options", "" if it hides none from this process.
	HidePID string
	// Inside says that the tree shows a PID namespace other than the machine's initial
	// one: processes outside that namespace are missing.
	Inside bool
	// HostInit says that its PID 1 is the machine's init, or may be.
	HostInit bool
	// Foreign says that the tree numbers processes as in another PID namespace than this
	// process's: its numbers are not those of system calls.
	Foreign bool
}

// Coverage examines the mount of the tree. It is meant for /proc.
func (s Sight) Coverage() Coverage {
	var c Coverage
	self, err := s.Self()
	c.Foreign = err != nil || self != os.Getpid()
	c.HidePID = s.hidePID()
	// In the namespace that the mount shows, init has number 1. If we may not ask about
	// it, but our own number is the same in both, the mount shows our own namespace.
	initial, err := host.InitialPID.Is(s.path("1/ns/pid"))
	if err != nil && !c.Foreign {
		initial, err = host.InitialPID.Is(s.path("self/ns/pid"))
	}
	c.Inside = err != nil || !initial
	c.HostInit = err != nil || initial
	return c
}

// hidePID returns the mount option that hides processes from the calling thread. It hides
// none from a thread that may examine every process. A security module can forbid single
// ones, above all the first process.
func (s Sight) hidePID() string {
	if _, err := os.Stat(s.path("1")); err == nil && mayExamineAll() {
		return ""
	}
	options, err := s.mountOptions()
	if err != nil {
		return "unknown options"
	}
	hides, member := "", false
	for _, o := range options {
		if gid, ok := strings.CutPrefix(o, "gid="); ok {
			member = isGroup(gid)
		}
		if strings.HasPrefix(o, "hidepid=") {
			hides = o
		}
	}
	switch hides {
	case "hidepid=4", "hidepid=ptraceable":
		return hides
	case "", "hidepid=0", "hidepid=off", "hidepid=1", "hidepid=noaccess": // processes that may not be read are still listed
		return ""
	}
	if member {
		return ""
	}
	return hides
}

// mountOptions returns the mount options of the tree.
func (s Sight) mountOptions() ([]string, error) {
	dir, err := os.Open(s.root)
	if err != nil {
		return nil, fmt.Errorf("mount options: %w", err)
	}
	defer func() { _ = dir.Close() }()
	info, err := os.ReadFile(s.path("self", "fdinfo", strconv.Itoa(int(dir.Fd()))))
	if err != nil {
		return nil, fmt.Errorf("mount options: %w", err)
	}
	_, id, ok := strings.Cut(string(info), "mnt_id:\t")
	id, _, _ = strings.Cut(id, "\n")
	table, err := os.Open(s.path("self", "mountinfo"))
	if err != nil || !ok {
		return nil, errors.Join(err, fs.ErrNotExist)
	}
	defer func() { _ = table.Close() }()
	for lines := bufio.NewScanner(table); lines.Scan(); {
		// 22 27 0:21 / /proc rw,relatime [tags] - proc proc rw,hidepid=invisible
		fields, super, _ := strings.Cut(lines.Text(), " - ")
		if mount, _, _ := strings.Cut(fields, " "); mount != id {
			continue
		}
		if f := strings.Fields(super); len(f) > 2 {
			return strings.Split(f[2], ","), nil
		}
	}
	return nil, fmt.Errorf("mount %s: %w", id, fs.ErrNotExist)
}

// isGroup reports whether this process belongs to a group.
func isGroup(gid string) bool {
	n, err := strconv.Atoi(gid)
	groups, _ := os.Getgroups()
	return err == nil && (n == os.Getegid() || slices.Contains(groups, n))
}

// mayExamineAll reports whether the calling thread has CAP_SYS_PTRACE over the processes
// of all users.
func mayExamineAll() bool {
	if has, err := host.HasCapability(unix.CAP_SYS_PTRACE); err != nil || !has {
		return false
	}
	initial, err := host.InitialUser.In()
	return err == nil && initial
}

// MayExamine reports whether the calling thread has the capabilities to examine the
// processes of all users. If it has and is refused, a security module refuses it.
func MayExamine() bool {
	has, err := host.HasCapability(unix.CAP_DAC_READ_SEARCH)
	return err == nil && has && mayExamineAll()
}
