package trust

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// mount is the part that we read of a line of mountinfo.
type mount struct {
	idmapped bool
	// fuse is the user whose program serves the files, -1 for the kernel.
	fuse int
}

// mountTable is read when first needed, and again when a new mount turns up.
type mountTable map[uint64]mount

// trusted refuses mounts that show false owners: idmapped ones, and those where a user's
// program invents them.
func (t *mountTable) trusted(on map[uint64]string) error {
	for id, path := range on {
		m, ok := (*t)[id]
		if !ok {
			if err := t.read(); err != nil {
				return fmt.Errorf("the mounts cannot be examined: %w", err)
			}
			m, ok = (*t)[id]
		}
		switch {
		case !ok:
			return fmt.Errorf("the mount of %s cannot be examined: /proc/self/mountinfo does not have it; cure: copy the file to another one", path)
		case m.idmapped:
			return fmt.Errorf("%s lies on an idmapped mount, which shows other owners than the files have; cure: copy the file to another mount", path)
		case m.fuse > 0 && foreign(uint32(m.fuse)):
			return fmt.Errorf("%s lies on a mount (FUSE) of which a program of uid %d makes up the files; cure: copy the file to another mount", path, m.fuse)
		}
	}
	return nil
}

// read records all mounts. In a chroot our own list lacks the mount of the root; the list
// of process 1 has it.
func (t *mountTable) read() error {
	*t = mountTable{}
	own, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err //nolint:wrapcheck // by trusted
	}
	if first, err := os.ReadFile("/proc/1/mountinfo"); err == nil {
		t.parse(string(first))
	}
	t.parse(string(own))
	return nil
}

// parse reads lines such as (proc_pid_mountinfo(5))
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime,idmapped master:1 - ext3 /dev/root rw,errors=continue
func (t *mountTable) parse(text string) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		dash := slices.Index(f, "-")
		if len(f) < 6 || dash < 6 || len(f) < dash+4 {
			continue
		}
		id, err := strconv.ParseUint(f[0], 10, 64)
		if err != nil {
			continue
		}
		m := mount{idmapped: slices.Contains(strings.Split(f[5], ","), "idmapped"), fuse: -1}
		if kind := f[dash+1]; kind == "fuse" || kind == "fuseblk" || strings.HasPrefix(kind, "fuse.") || strings.HasPrefix(kind, "fuseblk.") {
			for o := range strings.SplitSeq(f[dash+3], ",") {
				if v, ok := strings.CutPrefix(o, "user_id="); ok {
					m.fuse, _ = strconv.Atoi(v)
				}
			}
		}
		(*t)[id] = m
	}
}
