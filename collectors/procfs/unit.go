package procfs

import (
	"fmt"

	"sockwarden/collectors"
	"sockwarden/collectors/cgroup"
)

// InUnit returns the processes that end with the systemd unit of a process: those in its
// control group and in all groups below it, such as units and containers that the unit
// runs. The error is ErrNotPermitted if for some process nobody can tell.
func (ps *Processes) InUnit(o *collectors.Owner) ([]collectors.Owner, error) {
	root := cgroup.Path(o.Cgroup).Up(o.Unit)
	if root == "" {
		return nil, fmt.Errorf("process %d is in no unit %q: %w", o.PID, o.Unit, collectors.ErrGone)
	}
	pids, err := ps.PIDs()
	if err != nil {
		return nil, err
	}
	var members []collectors.Owner
	for _, pid := range pids {
		member, in, err := ps.inCgroup(pid, root)
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

// inCgroup describes a process if it is in a control group or in one below it.
func (ps *Processes) inCgroup(pid int, root cgroup.Path) (o collectors.Owner, in bool, err error) {
	p, err := ps.open(pid)
	if err != nil {
		return o, false, err
	}
	defer p.close()
	text, err := p.read("cgroup")
	if err != nil || !cgroup.Below(text, root) {
		return o, false, err
	}
	err = ps.describe(p, &o)
	return o, err == nil, err
}
