package procfs

import (
	"bytes"
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
	members, _, err := ps.inCgroup(root)
	return members, err
}

// InContainer returns the processes that end with the container of a process: those in
// its control group and below, and whoever else is in its PID namespace, such as the
// containers that share it and what nsenter(1) has put there. It is ErrNotPermitted if
// of some process that cannot be told.
func (ps *Processes) InContainer(o *collectors.Owner) ([]collectors.Owner, error) {
	root := cgroup.Path(o.Cgroup).UpContainer()
	if root == "" {
		return nil, fmt.Errorf("process %d is in no container: %w", o.PID, collectors.ErrGone)
	}
	members, others, err := ps.inCgroup(root)
	if err != nil {
		return nil, err
	}
	spaces := map[string]bool{}
	for i := range members {
		space, err := ps.begins(members[i].PID)
		switch {
		case isGone(err):
		case err != nil:
			return nil, classify(err)
		case space != "":
			spaces[space] = true
		}
	}
	if len(spaces) == 0 {
		return members, nil
	}
	for _, pid := range others {
		member, in, err := ps.inPIDNamespace(pid, spaces)
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

// inCgroup returns the processes in a control group or below it, and the numbers of all
// others.
func (ps *Processes) inCgroup(root cgroup.Path) (members []collectors.Owner, others []int, err error) {
	pids, err := ps.PIDs()
	if err != nil {
		return nil, nil, err
	}
	for _, pid := range pids {
		member, in, err := ps.isInCgroup(pid, root)
		switch {
		case isGone(err):
		case err != nil:
			return nil, nil, classify(err)
		case in:
			members = append(members, member)
		default:
			others = append(others, pid)
		}
	}
	return members, others, nil
}

// isInCgroup describes a process if it is in a control group or below it.
func (ps *Processes) isInCgroup(pid int, root cgroup.Path) (o collectors.Owner, in bool, err error) {
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

// begins returns the PID namespace of which a process is the first one, below that of
// the tree, and "" if it is not: when that process ends the kernel ends all others.
func (ps *Processes) begins(pid int) (string, error) {
	p, err := ps.open(pid)
	if err != nil {
		return "", err
	}
	defer p.close()
	status, err := p.read("status")
	if err != nil {
		return "", err
	}
	_, numbers, _ := bytes.Cut(status, []byte("\nNSpid:")) // one for each namespace, the innermost last (proc_pid_status(5))
	numbers, _, _ = bytes.Cut(numbers, []byte("\n"))
	if all := bytes.Fields(numbers); len(all) < 2 || string(all[len(all)-1]) != "1" {
		return "", nil
	}
	return p.readlink("ns/pid")
}

// inPIDNamespace describes a process if it is in one of the PID namespaces.
func (ps *Processes) inPIDNamespace(pid int, spaces map[string]bool) (o collectors.Owner, in bool, err error) {
	p, err := ps.open(pid)
	if err != nil {
		return o, false, err
	}
	defer p.close()
	space, err := p.readlink("ns/pid")
	if err != nil || !spaces[space] {
		return o, false, err
	}
	err = ps.describe(p, &o)
	return o, err == nil, err
}

// Cgroup returns the control group of a process. The error is ErrGone if there is no
// such process.
func (ps *Processes) Cgroup(pid int) (cgroup.Path, error) {
	p, err := ps.open(pid)
	if err != nil {
		return "", classify(err)
	}
	defer p.close()
	text, err := p.read("cgroup")
	return cgroup.Of(text), classify(err)
}
