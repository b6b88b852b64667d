package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// home is where the playground's files are: in memory, and only in its namespaces. The
// state of a watcher that runs on the host is hidden behind it.
const home = "/run"

// commands are what to try.
const commands = `sockwarden list --by port,state,process               # what there is
sockwarden audit --rules builtin --var close_wait_timeout=2       # what would be done: a dry run
sockwarden list -p 8080 -s close_wait --make-rule leak > leak.yaml    # a rule of what you see
sockwarden rules explain --rules leak.yaml -p 8080    # why it does not take them yet
sockwarden run --live --rules builtin --var close_wait_timeout=2  # destroys the leak, and nothing else
`

// inside prepares the namespaces, starts the processes and runs the shell.
func inside(ctx context.Context, from string) error {
	if err := prepare(from); err != nil {
		return err
	}
	bin := filepath.Join(home, "bin")
	for _, s := range servers {
		if err := start(ctx, filepath.Join(bin, s.name), "-role", roleServer, s.name); err != nil {
			return err
		}
	}
	if err := start(ctx, filepath.Join(bin, roleClients), "-role", roleClients); err != nil {
		return err
	}
	return shell(ctx, bin)
}

// prepare gives the namespaces a loopback device, a root and a /proc of their own and a
// place for files, and takes the programs over from the directory outside, which it removes.
func prepare(from string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	names := []string{"sockwarden", roleClients}
	for _, s := range servers {
		names = append(names, s.name)
	}
	programs := map[string][]byte{}
	for _, name := range []string{"sockwarden", "demo"} {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			return fmt.Errorf("take over: %w", err)
		}
		programs[name] = data
	}
	if err := os.RemoveAll(from); err != nil {
		return fmt.Errorf("tidy up: %w", err)
	}
	if err := ownRoot(); err != nil {
		return err
	}
	for _, dir := range []string{"bin", "demo"} {
		if err := os.Mkdir(filepath.Join(home, dir), 0o700); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
	for _, name := range names {
		data, ok := programs[name]
		if !ok {
			data = programs["demo"]
		}
		if err := os.WriteFile(filepath.Join(home, "bin", name), data, 0o700); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
	return loopback()
}

// loopback sets the device up.
func loopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	defer func() { _ = unix.Close(fd) }()
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo); err != nil {
		return fmt.Errorf("set loopback up: %w", err)
	}
	return nil
}

// start starts a process of the playground and waits until it is ready. It ends with this
// one.
func start(ctx context.Context, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Stdin, cmd.Stderr = strings.NewReader(""), os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true} // Ctrl-C is not for it
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", program, err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != ready {
		return errors.Join(fmt.Errorf("%s does not get ready", program), err)
	}
	return nil
}

// shell runs what is on standard input: a person's, or commands.
func shell(ctx context.Context, bin string) error {
	fmt.Print("A network of its own: leaky (8080) keeps 5 connections that its clients have closed, the client of database\n" +
		"(5432) is gone without a word, that of relay (21117) reads nothing, and web (8443) is well. Nothing here reaches\n" +
		"your host; exit ends it all. Try:\n\n" + commands + "\n")
	cmd := exec.CommandContext(ctx, "/bin/sh")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Dir = filepath.Join(home, "demo")
	cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "PS1=demo$ ")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if _, err := unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS); err == nil {
		if bash, err := exec.LookPath("bash"); err == nil { // which edits lines
			cmd.Path, cmd.Args = bash, []string{bash, "--norc", "--noprofile"}
			cmd.Env = append(cmd.Env, "HISTFILE=")
		}
		cmd.Args = append(cmd.Args, "-i")
		// The group that has the terminal now is not of this namespace: a shell could not give
		// it back.
		cmd.SysProcAttr.Setpgid, cmd.SysProcAttr.Foreground = true, true
	}
	return cmd.Run() //nolint:wrapcheck // its exit code is ours
}
