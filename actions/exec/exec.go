// Package exec runs a program for a finding: the way to add an action without
// compiling.
//
// Comes in: the absolute path of a program. Goes out: its exit code. It gets the
// finding as JSON on standard input, a clean environment and no shell, and it is
// killed with all that it started when its time is over.
package exec

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/collectors"
)

const (
	defaultTimeout = 10 * time.Second
	// maxOutput is how much of the end of the program's output is reported, in bytes.

	maxOutput = 4 << 10
	// fileLimit is how much it may write to any file, in bytes.
	fileLimit = 16 << 20
)

// Plugin returns the registration of the action.
func Plugin() actions.Plugin {
	return actions.Plugin{
		Name:    "exec",
		Summary: "runs a program with the finding as JSON on standard input",
		Doc: "No shell, a clean environment (PATH, LANG=C), standard input with one JSON object: rule, labels, host, sockets. Exit code 0 is " +
			"done, any other failed with the end of the program's output; after timeout it is killed with its process group.",
		Needs: "an executable file that only root and the running user can write",
		Params: []actions.Param{
			{Name: "program", Type: "string", Doc: "absolute path"},
			{Name: "timeout", Type: "duration", Doc: "how long it may run (default 10s)"},
		},
		Main: "program",
		New:  newAction,
	}
}

func newAction(params map[string]any) (actions.Action, error) {
	program, _ := params["program"].(string)
	if !filepath.IsAbs(program) {
		return nil, fmt.Errorf("program is an absolute path, not %q; there is no shell", program)
	}
	a := action{program: program, timeout: defaultTimeout}
	if d, ok := params["timeout"].(time.Duration); ok {
		if a.timeout = d; d <= 0 || d > time.Hour {
			return nil, fmt.Errorf("timeout is between 0 and 1h, not %s", d)
		}
	}
	return a, nil
}

type action struct {
	program string
	timeout time.Duration
}

// Prepare checks the program and writes down the finding.
func (a action) Prepare(_ context.Context, t actions.Target) (actions.Effect, error) {
	if err := checkProgram(a.program); err != nil {
		return nil, err
	}
	input, err := json.Marshal(describe(t))
	if err != nil {
		return nil, fmt.Errorf("describe finding: %w", err)
	}
	return &effect{what: "exec " + a.program, argv: []string{a.program}, timeout: a.timeout, input: append(input, '\n')}, nil
}

// searchPath is where programs are found that are named without a directory, and
// what they get as PATH.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// NewCommand returns the effect of running a program of the system with
// arguments and nothing on standard input, for actions that are such a command.
// What says in the imperative what it does.
func NewCommand(what string, timeout time.Duration, program string, args ...string) (actions.Effect, error) {
	for dir := range strings.SplitSeq(searchPath, ":") {
		path := filepath.Join(dir, program)
		if checkProgram(path) == nil {
			return &effect{what: what, argv: append([]string{path}, args...), timeout: timeout}, nil
		}
	}
	return nil, fmt.Errorf("%s: %w in %s", program, os.ErrNotExist, searchPath)
}

// describe is the object that the program reads.
func describe(t actions.Target) map[string]any {
	sockets := make([]map[string]any, len(t.Sockets))
	for i := range t.Sockets {
		s := &t.Sockets[i]
		var owner *collectors.Owner
		if len(s.Facts.Owners) > 0 {
			owner = &s.Facts.Owners[0]
		}
		r := collectors.NewRecord(&s.Socket, &s.Namespace, &s.Facts, owner, t.Host)
		sockets[i] = collectors.Map(&r)
	}
	return map[string]any{"rule": t.Rule, "labels": t.Labels, "host": t.Host, "sockets": sockets}
}

// checkProgram refuses a program that somebody else could have written.
func checkProgram(path string) error {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fmt.Errorf("program %s: %w", path, err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0:
		return fmt.Errorf("program %s is no executable file", path)
	case st.Uid != 0 && int(st.Uid) != os.Geteuid(), st.Mode&(unix.S_IWGRP|unix.S_IWOTH) != 0:
		return fmt.Errorf("program %s can be written by others; cure: chown %d %s && chmod go-w %s", path, os.Geteuid(), path, path)
	}
	return nil
}

type effect struct {
	what     string
	argv     []string
	timeout  time.Duration
	input    []byte
	pid      int
	output   *os.File
	deadline time.Time
	outcome  *actions.Outcome // once it is known
}

func (e *effect) String() string { return e.what }

// Apply starts the program and does not wait for it.
func (e *effect) Apply(context.Context) actions.Outcome {
	if err := e.start(); err != nil {
		e.outcome = &actions.Outcome{Result: actions.Failed, Err: err}
		return *e.outcome
	}
	return actions.Outcome{Result: actions.Done}
}

func (e *effect) start() error {
	// Files rather than pipes: nobody has to read or write while it runs.
	in, err := memory("input", e.input)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	if e.output, err = memory("output", nil); err != nil {
		return err
	}
	p, err := os.StartProcess(e.argv[0], e.argv, &os.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=" + searchPath, "LANG=C"},
		Files: []*os.File{in, e.output, e.output},
		Sys:   &unix.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		_ = e.output.Close()
		return fmt.Errorf("start program: %w", err)
	}
	e.pid, e.deadline = p.Pid, time.Now().Add(e.timeout)
	_ = p.Release() // waited for by number
	// What it writes is memory of this machine: more than this ends it (SIGXFSZ).
	limit := unix.Rlimit{Cur: fileLimit, Max: fileLimit}
	if err := unix.Prlimit(e.pid, unix.RLIMIT_FSIZE, &limit, nil); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("limit output of program: %w", err)
	}
	return nil
}

func memory(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("sockwarden-"+name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(content); err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("memory file: %w", err)
	}
	return f, nil
}

// Verify says whether the program has ended, and how; it kills one whose time
// is over.
func (e *effect) Verify(ctx context.Context) actions.Outcome {
	if e.outcome != nil {
		return *e.outcome
	}
	var status unix.WaitStatus
	pid, err := unix.Wait4(e.pid, &status, unix.WNOHANG, nil)
	late := time.Now().After(e.deadline) || ctx.Err() != nil
	switch {
	case errors.Is(err, unix.EINTR), err == nil && pid == 0 && !late:
		return actions.Outcome{Result: actions.StillRunning, Pending: true}
	case err == nil && pid == 0:
		_ = unix.Kill(-e.pid, unix.SIGKILL)
		_, _ = unix.Wait4(e.pid, &status, 0, nil)
		return e.end(actions.Outcome{Result: actions.Timeout, Err: fmt.Errorf("killed after %s", e.timeout)}) //nolint:err113 // for people
	case err != nil:
		return e.end(actions.Outcome{Result: actions.Failed, Err: fmt.Errorf("wait for program: %w", err)})
	case status.Exited() && status.ExitStatus() == 0:
		return e.end(actions.Outcome{Result: actions.Done, Detail: e.tail()})
	case status.Signaled():
		return e.end(actions.Outcome{Result: actions.Failed, Err: fmt.Errorf("ended by %s: %s", status.Signal(), e.tail())}) //nolint:err113 // for people
	}
	return e.end(actions.Outcome{Result: actions.Failed, Err: fmt.Errorf("exit code %d: %s", status.ExitStatus(), e.tail())}) //nolint:err113 // for people
}

func (e *effect) end(out actions.Outcome) actions.Outcome {
	e.outcome = &out
	_ = e.output.Close()
	return out
}

// tail returns the end of what the program printed, on one line.
func (e *effect) tail() string {
	info, err := e.output.Stat()
	if err != nil {
		return ""
	}
	buf := make([]byte, min(info.Size(), maxOutput))
	n, _ := e.output.ReadAt(buf, info.Size()-int64(len(buf)))
	return strings.Join(strings.Fields(string(bytes.ToValidUTF8(buf[:n], []byte("?")))), " ")
}
