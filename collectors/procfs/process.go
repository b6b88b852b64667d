package procfs

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os/user"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/cgroup"
	"sockwarden/collectors/host"
)

// clockTicks is USER_HZ, the unit of start times in /proc: 100 on every Linux
// that Go runs on.
const clockTicks = 100

// maxFile bounds what is read of one file of /proc, in bytes; command lines can
// be megabytes.
const maxFile = 64 << 10

// stat is what sockwarden reads of /proc/PID/stat.
type stat struct {
	comm      string
	state     byte // R, S, D, Z, ...
	parent    int
	threads   int
	startTime uint64 // clock ticks since boot
	kernel    bool   // a kernel thread
}

const pfKthread = 0x00200000 // PF_KTHREAD (include/linux/sched.h)

// parseStat reads the text of /proc/PID/stat. The name stands in parentheses
// and can itself hold parentheses, spaces and newlines: the last ")" ends it.
func parseStat(b []byte) (stat, error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || end < open {
		return stat{}, errors.New("stat: no process name in parentheses")
	}
	f := strings.Fields(string(b[end+1:]))
	// f[0] is field 3 (state); see proc_pid_stat(5).
	if len(f) < 20 {
		return stat{}, fmt.Errorf("stat: %d fields behind the name, want at least 20", len(f))
	}
	parent, err0 := strconv.Atoi(f[1])
	flags, err1 := strconv.ParseUint(f[6], 10, 64)
	threads, err2 := strconv.Atoi(f[17])
	start, err3 := strconv.ParseUint(f[19], 10, 64)
	if err := errors.Join(err0, err1, err2, err3); err != nil {
		return stat{}, fmt.Errorf("stat: %w", err)
	}
	return stat{comm: string(b[open+1 : end]), state: f[0][0], parent: parent, threads: threads, startTime: start, kernel: flags&pfKthread != 0}, nil
}

// ended reports whether the process only waits for its parent. One whose first
// thread has ended shows as a zombie while others run.
func (s *stat) ended() bool { return s.state == 'X' || (s.state == 'Z' && s.threads < 2) }

// holdsNothing reports whether the process cannot have a descriptor, so that it
// does not matter who may look: what has ended belongs to root for the kernel.
func (s *stat) holdsNothing() bool { return s.ended() || s.kernel }

// fullName undoes the cut of a name at 15 bytes, from the program's arguments
// or its executable.
func fullName(comm string, cmdline []byte, exe string) string {
	if len(comm) < 15 {
		return comm
	}
	arg0, _, _ := bytes.Cut(cmdline, []byte{0})
	for _, candidate := range []string{path.Base(string(arg0)), path.Base(exe)} {
		if strings.HasPrefix(candidate, comm) {
			return candidate
		}
	}
	return comm
}

// parseLimit returns the soft limit of open files in the text of
// /proc/PID/limits; false if it is unlimited or not there.
func parseLimit(b []byte) (uint64, bool) {
	for line := range bytes.Lines(b) {
		rest, ok := bytes.CutPrefix(line, []byte("Max open files"))
		if !ok {
			continue
		}
		f := bytes.Fields(rest)
		if len(f) == 0 {
			return 0, false
		}
		n, err := strconv.ParseUint(string(f[0]), 10, 64)
		return n, err == nil && n < math.MaxInt64
	}
	return 0, false
}

// process is an open directory of /proc: everything read through it belongs to
// the process that had the PID when it was opened, or fails.
type process struct {
	pid int
	dir int    // of the process, or one in it
	up  string // the way from dir to that of the process, "" or "../"
}

func (f *FS) open(pid int) (process, error) {
	dir, err := unix.Open(f.path(strconv.Itoa(pid)), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return process{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return process{pid: pid, dir: dir}, nil
}

// openStarted opens the process pid that started at startTime. It is ErrGone if
// that process is no more.
func (f *FS) openStarted(pid int, startTime uint64) (process, stat, error) {
	p, err := f.open(pid)
	if err != nil {
		return process{}, stat{}, classify(err)
	}
	st, err := p.stat()
	if err == nil && st.startTime != startTime {
		err = fmt.Errorf("process %d of start time %d: %w", pid, startTime, collectors.ErrGone)
	}
	if err != nil {
		p.close()
		return process{}, stat{}, classify(err)
	}
	return p, st, nil
}

func (p process) close() { _ = unix.Close(p.dir) }

// openat opens a file or directory of the process; the caller closes it.
func (p process) openat(name string, flags int) (int, error) {
	fd, err := unix.Openat(p.dir, p.up+name, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
	if err != nil {
		return -1, fmt.Errorf("open %s of process %d: %w", name, p.pid, err)
	}
	return fd, nil
}

func (p process) read(name string) ([]byte, error) {
	fd, err := p.openat(name, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = unix.Close(fd) }()
	buf := make([]byte, 0, 4096)
	for len(buf) < maxFile {
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read %s of process %d: %w", name, p.pid, err)
		}
		if n == 0 {
			break
		}
		buf = buf[:len(buf)+n]
	}
	return buf, nil
}

func (p process) stat() (stat, error) {
	b, err := p.read("stat")
	if err != nil {
		return stat{}, err
	}
	return parseStat(b)
}

func (p process) readlink(name string) (string, error) {
	buf := make([]byte, 4096)
	n, err := unix.Readlinkat(p.dir, p.up+name, buf)
	if err != nil {
		return "", fmt.Errorf("readlink %s of process %d: %w", name, p.pid, err)
	}
	return string(buf[:n]), nil
}

// describe fills in everything about the process; what cannot be read stays
// unknown. It fails only if the process is gone.
func (f *FS) describe(p process, o *collectors.Owner) error {
	return f.describeBut(p, o, collectors.FieldSet{})
}

// describeBut leaves the arguments out if they are among the fields without.
func (f *FS) describeBut(p process, o *collectors.Owner, without collectors.FieldSet) error {
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
		cmdline, err = f.cmdline(p, st.startTime)
	}
	if err == nil && cmdline != nil {
		o.Cmdline = strings.TrimRight(string(bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})), " ")
		o.Known.Add(collectors.Fields(collectors.FieldCmdline))
	}
	o.Name = fullName(st.comm, cmdline, o.Exe)
	var ids unix.Stat_t
	if unix.Fstatat(p.dir, p.up+".", &ids, 0) == nil {
		o.UID = ids.Uid
		if u, err := f.user(ids.Uid); err == nil {
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
			o.Known.Add(collectors.Fields(collectors.FieldContainer))
		}
	}
	return nil
}

func (f *FS) user(uid uint32) (string, error) {
	if name, ok := f.users[uid]; ok {
		if name == "" {
			return "", fmt.Errorf("user %d: %w", uid, user.UnknownUserIdError(uid))
		}
		return name, nil
	}
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if f.users == nil {
		f.users = map[uint32]string{}
	}
	if err != nil {
		// Also that is kept: containers are full of users whom the host has not.
		f.users[uid] = ""
		return "", fmt.Errorf("user %d: %w", uid, err)
	}
	f.users[uid] = u.Username
	return u.Username, nil
}
