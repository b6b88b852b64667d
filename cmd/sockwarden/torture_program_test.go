package main

import (
	"bufio"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"sockwarden/collectors/socklab"
)

// program is a life in a process of its own.
type program struct {
	*exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	done chan struct{}
}

// start starts a life in a namespace and returns when all its sockets are there.
// It is killed at the end of the test.
func (l life) start(t *testing.T, ns *socklab.Namespace) *program {
	t.Helper()
	orders, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{Cmd: exec.Command(exe), done: make(chan struct{})}
	p.Env = append(os.Environ(), envLife+"="+string(orders))
	p.Stderr = os.Stderr
	if p.in, err = p.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, w, err := os.Pipe() // our own: Wait must not close it before it is read
	if err != nil {
		t.Fatal(err)
	}
	p.Stdout, p.out = w, bufio.NewReader(out)
	err = ns.Do(p.Start)
	_ = w.Close()
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = p.Wait(); close(p.done) }()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.done
		_ = p.in.Close()
		_ = out.Close()
	})
	p.read(t)
	return p
}

// ask gives an order and returns the figures after it.
func (p *program) ask(t *testing.T, order string) stats {
	t.Helper()
	if _, err := io.WriteString(p.in, order+"\n"); err != nil {
		t.Fatalf("program %d: %v", p.Process.Pid, err)
	}
	return p.read(t)
}

func (p *program) read(t *testing.T) (s stats) {
	t.Helper()
	line, err := p.out.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &s)
	}
	if err != nil {
		t.Fatalf("program %d: %v", p.Process.Pid, err)
	}
	return s
}

// ended returns how the process ended, or false if it has not.
func (p *program) ended() (syscall.WaitStatus, bool) {
	select {
	case <-p.done:
		ws, _ := p.ProcessState.Sys().(syscall.WaitStatus)
		return ws, true
	default:
		return 0, false
	}
}
