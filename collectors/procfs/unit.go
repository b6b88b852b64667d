package procfs

import (
	"fmt"
	"strings"

	"sockwarden/collectors"
)

// InUnit returns the processes that end with the systemd unit of a process: those
// in its control group and in every one below it, such as units and containers
// that the unit runs itself. It is ErrNotPermitted if of some process that cannot
// be told.
func (f *FS) InUnit(o *collectors.Owner) ([]collectors.Owner, error) {
	root := unitPath(o.Cgroup, o.Unit)
	if root == "" {
		return nil, fmt.Errorf("process %d is in no unit %q: %w", o.PID, o.Unit, collectors.ErrGone)
	}
	pids, err := f.PIDs()
	if err != nil {
		return nil, err
	}
	var members []collectors.Owner
	for _, pid := range pids {
		member, in, err := f.inCgroup(pid, root)
		switch {
		case isGone(err):
		case err != nil:
			return nil, classify(err)
		case in:
			members = append(members, member)
		}
	}
	return members, nil
}

// inCgroup describes a process if it is in a control group or below it, in any
// hierarchy: which of them systemd goes by differs.
func (f *FS) inCgroup(pid int, root string) (o collectors.Owner, in bool, err error) {
	p, err := f.open(pid)
	if err != nil {
		return o, false, err
	}
	defer p.close()
	text, err := p.read("cgroup")
	if err != nil || !anyBelow(text, root) {
		return o, false, err
	}
	err = f.describe(p, &o)
	return o, err == nil, err
}

// unitPath returns the control group of a unit, from that of a process in it.
func unitPath(cgroup, unit string) string {
	if unit == "" {
		return ""
	}
	i := strings.LastIndex(cgroup+"/", "/"+unit+"/")
	if i < 0 {
		return ""
	}
	return cgroup[:i+1+len(unit)]
}

// anyBelow reports whether one of the paths in the text of /proc/PID/cgroup is
// that of a control group or below it.
func anyBelow(text []byte, root string) bool {
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) == 3 && strings.HasPrefix(parts[2]+"/", root+"/") {
			return true
		}
	}
	return false
}
