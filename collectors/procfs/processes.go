package procfs

import (
	"bytes"
	"context"
	"fmt"
	"os/user"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/cgroup"
	"sockwarden/collectors/host"
)

// Processes says what single processes are.
type Processes struct {
	mount
	users map[uint32]string // names of users, "" for those without
	hung  map[int]hungRead  // by PID
}

// Describe returns what is known about a process, with the number of its descriptors if
// they can be listed. The error is ErrGone if there is no such process.
func (ps *Processes) Describe(pid int) (collectors.Owner, error) {
	p, err := ps.open(pid)
	if err != nil {
		return collectors.Owner{}, classify(err)
	}
	defer p.close()
	var o collectors.Owner
	if err := ps.describe(p, &o); err != nil {
		return collectors.Owner{}, classify(err)
	}
	if _, total, err := p.sockets("fd", nil); err == nil {
		o.FDs = total
		o.Known.Add(collectors.Fields(collectors.FieldFDs))
	}
	return o, nil
}

// describe fills in everything about the process; what cannot be read stays unknown. It
// fails only if the process has ended.
func (ps *Processes) describe(p process, o *collectors.Owner) error {
	return ps.describeBut(p, o, collectors.FieldSet{})
}

// describeBut is describe without the arguments, if these are among the fields without.
func (ps *Processes) describeBut(p process, o *collectors.Owner, without collectors.FieldSet) error {
	st, err := p.stat()
	if err != nil {
		return err
	}
	o.PID, o.Comm, o.StartTime, o.Kernel = p.pid, st.comm, st.startTime, st.kernel
	o.Age = max(0, host.SinceBoot()-float64(st.startTime)/clockTicks)
	o.Known.Add(collectors.Fields(collectors.FieldPID, collectors.FieldProcess, collectors.FieldProcessAge))
	if exe, err := p.readlink("exe"); err == nil {
		o.Exe = strings.TrimSuffix(exe, " (deleted)")
		o.Known.Add(collectors.Fields(collectors.FieldExe))
	}
	var cmdline []byte
	if !without.Has(collectors.FieldCmdline) {
		cmdline, err = ps.cmdline(p, st.startTime)
	}
	if err == nil && cmdline != nil {
		o.Cmdline = strings.TrimRight(string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})), " ")
		o.Known.Add(collectors.Fields(collectors.FieldCmdline))
	}
	o.Name = fullName(st.comm, cmdline, o.Exe)
	var ids unix.Stat_t
	if unix.Fstatat(p.dir, p.up+".", &ids, 0) == nil {
		o.UID = ids.Uid
		if u, err := ps.user(ids.Uid); err == nil {
			o.User = u
			o.Known.Add(collectors.Fields(collectors.FieldUser))
		}
	}
	if b, err := p.read("limits"); err == nil {
		if n, ok := parseLimit(b); ok {
			o.FDLimit = n
			o.Known.Add(collectors.Fields(collectors.FieldFDLimit))
		}
	}
	if b, err := p.read("cgroup"); err == nil {
		group := cgroup.Of(b)
		o.Cgroup, o.Unit, o.Container = string(group), group.Unit(), group.Container()
		o.Known.Add(collectors.Fields(collectors.FieldCgroup, collectors.FieldUnit, collectors.FieldContainerID))
		if o.Container == "" {
			o.Known.Add(collectors.ContainerFields()) // there is none
		}
	}
	return nil
}

// Named describes the processes whose comm, of at most 15 bytes, that is. Processes that
// cannot be read are left out.
func (ps *Processes) Named(ctx context.Context, comm string) (all []collectors.Owner, err error) {
	pids, err := ps.PIDs()
	if err != nil {
		return nil, err
	}
	for _, pid := range pids {
		if ctx.Err() != nil {
			return all, fmt.Errorf("look at processes: %w", context.Cause(ctx))
		}
		p, err := ps.open(pid)
		if err != nil {
			continue
		}
		var o collectors.Owner
		if st, err := p.stat(); err == nil && st.comm == comm && ps.describe(p, &o) == nil {
			all = append(all, o)
		}
		p.close()
	}
	return all, nil
}

func (ps *Processes) user(uid uint32) (string, error) {
	if name, ok := ps.users[uid]; ok {
		if name == "" {
			return "", fmt.Errorf("user %d: %w", uid, user.UnknownUserIdError(uid))
		}
		return name, nil
	}
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if ps.users == nil {
		ps.users = map[uint32]string{}
	}
	if err != nil {
		// Remember that, too: containers are full of users that the host does not know.
		ps.users[uid] = ""
		return "", fmt.Errorf("user %d: %w", uid, err)
	}
	ps.users[uid] = u.Username
	return u.Username, nil
}

// Running reports whether the process pid that started at startTime is still running; a
// zombie, which only waits for its parent, is not.
func (ps *Processes) Running(pid int, startTime uint64) (bool, error) {
	p, err := ps.open(pid)
	if isGone(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer p.close()
	st, err := p.stat()
	if isGone(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return st.startTime == startTime && !st.ended(), nil
}

// Parent returns the PID of the parent of a process.
func (ps *Processes) Parent(pid int) (int, error) {
	p, err := ps.open(pid)
	if err != nil {
		return 0, err
	}
	defer p.close()
	st, err := p.stat()
	return st.parent, err
}

// StartTime returns when a process started, in clock ticks since boot: with its number it
// is another one. The error is ErrGone if there is no such process.
func (ps *Processes) StartTime(pid int) (uint64, error) {
	p, err := ps.open(pid)
	if err != nil {
		return 0, classify(err)
	}
	defer p.close()
	st, err := p.stat()
	if err != nil {
		return 0, classify(err)
	}
	return st.startTime, nil
}
