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

// Sight says what the tree does not show, whoever looks.
type Sight struct{ mount }

// Coverage says which processes the tree cannot show, whoever may look. A process
// that it does not show holds sockets that seem to be nobody's, or only those of
// the others who hold them.
type Coverage struct {
	// HidePID is how the mount hides processes, such as "hidepid=invisible" or
	// "unknown options", "" if it hides none from this process.
	HidePID string
	// Inside says that it shows a PID namespace other than the one that the
	// machine started with: what runs outside of that is not shown.
	Inside bool
	// HostInit says that its PID 1 is that of the machine, or cannot be told from it.
	HostInit bool
	// Foreign says that it numbers processes as another PID namespace does than
	// the one that this process is in: its numbers are not those of system calls.
	Foreign bool
}

// Coverage looks at the mount of the tree. It is meant for /proc.
func (s Sight) Coverage() Coverage {
	var c Coverage
	self, err := s.Self()
	c.Foreign = err != nil || self != os.Getpid()
	c.HidePID = s.hidePID()
	// The init of the namespace that the mount is of has number 1 in it. Where that
	// may not be asked, the mount is of this process's own if the numbers agree.
	initial, err := host.InitialPID.Is(s.path("1/ns/pid"))
	if err != nil && !c.Foreign {
		initial, err = host.InitialPID.Is(s.path("self/ns/pid"))
	}
	c.Inside = err != nil || !initial
	c.HostInit = err != nil || initial
	return c
}

// hidePID returns the option of the mount that hides processes from the calling
// thread. From who may examine every process none are hidden; a security module
// can forbid that of single ones, of the first process before others.
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
	case "", "hidepid=0", "hidepid=off", "hidepid=1", "hidepid=noaccess": // what may not be read is listed
		return ""
	}
	if member {
		return ""
	}
	return hides
}

// mountOptions returns the options of the file system that the tree is on.
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

// isGroup reports whether this process is in a group.
func isGroup(gid string) bool {
	n, err := strconv.Atoi(gid)
	groups, _ := os.Getgroups()
	return err == nil && (n == os.Getegid() || slices.Contains(groups, n))
}

// mayExamineAll reports whether the calling thread has CAP_SYS_PTRACE over the
// processes of all users.
func mayExamineAll() bool {
	if has, err := host.HasCapability(unix.CAP_SYS_PTRACE); err != nil || !has {
		return false
	}
	initial, err := host.InitialUser.In()
	return err == nil && initial
}

// MayExamine reports whether the calling thread has what it takes to examine the
// processes of all users: what is refused to it is refused by a security module.
func MayExamine() bool {
	has, err := host.HasCapability(unix.CAP_DAC_READ_SEARCH)
	return err == nil && has && mayExamineAll()
}
