package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// furnish sets up the new namespaces.
func furnish() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("private mounts: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := syscall.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	if out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput(); err != nil {
		return fmt.Errorf("loopback: %w: %s", err, out)
	}
	return nil
}

// load is a running sockload.
type load struct {
	cmd   *exec.Cmd
	input io.Closer
	since time.Time
}

// workers is how many processes hold the sockets: 1,000 each, up to 100.
func workers(size int) int { return min(max(size/1000, 1), 100) }

// startMixed makes 5 % CLOSE_WAIT, 2 % TIME_WAIT and connections, 10 % of them
// over ::1.
func startMixed(dir string, size int) (*load, error) {
	return startLoad(dir, "-n", strconv.Itoa(size), "-c", strconv.Itoa(size/20), "-t", strconv.Itoa(size/50), "-6", "10", "-P", strconv.Itoa(workers(size)))
}

// startCloseWait makes only CLOSE_WAIT and listeners.
func startCloseWait(dir string, size int) (*load, error) {
	return startLoad(dir, "-n", strconv.Itoa(size), "-c", strconv.Itoa(size), "-P", strconv.Itoa(workers(size)))
}

func startLoad(dir string, args ...string) (*load, error) {
	cmd := exec.Command(filepath.Join(dir, "sockload"), args...)
	cmd.Stderr = os.Stderr
	input, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	l := &load{cmd: cmd, input: input}
	late := time.AfterFunc(5*time.Minute, func() { _ = cmd.Process.Kill() })
	defer late.Stop()
	if line, _ := bufio.NewReader(output).ReadString('\n'); line != "READY\n" {
		return nil, errors.Join(errors.New("the load did not come up"), l.stop())
	}
	l.since = time.Now()
	return l, nil
}

// age waits until the sockets are so old.
func (l *load) age(d time.Duration) { time.Sleep(time.Until(l.since.Add(d))) }

// stop ends the load; its sockets are gone when it returns.
func (l *load) stop() error {
	_ = l.input.Close()
	return l.cmd.Wait()
}
