// Command demo is a playground: a network of its own with a server that leaks, a half-open
// connection, a stuck one and healthy ones, and a shell in it to try sockwarden on them. It
// needs no root where users may make namespaces, touches nothing outside, and leaves
// nothing behind, however it ends.
//
//	go run ./examples/demo
//	echo 'sockwarden list --by port,state,process' | go run ./examples/demo
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
)

// roles are the programs that the processes of the playground run.
const (
	roleInside  = "inside"
	roleServer  = "server"
	roleClients = "clients"
)

func main() {
	program := flag.String("sockwarden", "", "try this `FILE` instead of building one")
	role := flag.String("role", "", "what the demo starts itself as")
	flag.Parse()
	runtime.LockOSThread() // children end with the thread that started them
	os.Exit(code(play(*role, *program, flag.Arg(0))))
}

// play is one process of the playground.
func play(role, program, arg string) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	switch role {
	case roleInside:
		return inside(ctx, arg)
	case roleServer:
		return serve(ctx, arg)
	case roleClients:
		return connect(ctx)
	default:
		return enter(ctx, program)
	}
}

// code is the exit code for an error, which it says: that of the shell, if it comes from
// there.
func code(err error) int {
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() > 0 {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		return 1
	}
	return 0
}

// enter builds the program and starts the demo again in namespaces of its own. They end
// with it, and all that is in them.
func enter(ctx context.Context, program string) error {
	dir, err := os.MkdirTemp("", "sockwarden-demo")
	if err != nil {
		return fmt.Errorf("make a directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := gather(ctx, dir, program); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, filepath.Join(dir, "demo"), "-role", roleInside, dir)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		Pdeathsig:  syscall.SIGKILL,
	}
	if os.Getuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	signal.Ignore(syscall.SIGINT) // it is meant for what runs in the shell
	err = cmd.Run()
	if err != nil && cmd.ProcessState == nil && os.Getuid() != 0 {
		return fmt.Errorf("this host does not let you make namespaces (%w): sudo go run ./examples/demo", err)
	}
	return err //nolint:wrapcheck // the exit code of the shell
}

// gather puts both programs into a directory.
func gather(ctx context.Context, dir, program string) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find myself: %w", err)
	}
	if err := copyFile(self, filepath.Join(dir, "demo")); err != nil {
		return err
	}
	if program != "" {
		return copyFile(program, filepath.Join(dir, "sockwarden"))
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, "sockwarden"), "sockwarden/cmd/sockwarden")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("go build sockwarden: %w\n%s", err, out)
	}
	return nil
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	if err := os.WriteFile(to, data, 0o700); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	return nil
}
