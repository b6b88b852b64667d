package socklab

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	envHolder = "SOCKLAB_HOLDER"
	// Orders on standard input. After all but the first come a length and the content.
	orderClose     = 'c'
	orderCloseFrom = 'f'
	orderRename    = 'n'
	orderExec      = 'x'
)

// holderOrders reach the child in its environment. Comm is bytes: in JSON a string must
// be UTF-8.
type holderOrders struct {
	Sockets    int
	Comm       []byte
	UID        int
	IgnoreTerm bool
	NoFile     uint64
	Lock       bool
}

// runHolder is the life of a holder. It returns if this process is not one.
func runHolder() {
	orders, is := os.LookupEnv(envHolder)
	if !is {
		return
	}
	if err := hold(orders); err != nil {
		fmt.Fprintln(os.Stderr, "socklab: holder:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func hold(orders string) error {
	var o holderOrders
	if err := json.Unmarshal([]byte(orders), &o); err != nil {
		return fmt.Errorf("orders: %w", err)
	}
	if err := o.disguise(); err != nil {
		return err
	}
	fmt.Println("READY")
	if o.Lock {
		if err := lockSocket(3); err != nil {
			fmt.Println(err)
			return err
		}
		fmt.Println("LOCKED")
	}
	order := make([]byte, 1)
	for {
		if n, err := os.Stdin.Read(order); err != nil || n == 0 {
			return nil //nolint:nilerr // the test is over
		}
		if err := o.obey(order[0], orders); err != nil {
			return err
		}
	}
}

func (o *holderOrders) obey(order byte, orders string) error {
	if order == orderClose {
		return o.closeFrom(0)
	}
	length := make([]byte, 1)
	if _, err := io.ReadFull(os.Stdin, length); err != nil {
		return err
	}
	name := make([]byte, length[0])
	if _, err := io.ReadFull(os.Stdin, name); err != nil {
		return err
	}
	switch order {
	case orderCloseFrom:
		n, err := strconv.Atoi(string(name))
		if err != nil {
			return err
		}
		return o.closeFrom(n)
	case orderExec:
		return unix.Exec(string(name), []string{filepath.Base(string(name))}, append(os.Environ(), envHolder+"="+orders))
	}
	if err := os.WriteFile("/proc/self/comm", name, 0); err != nil {
		return err
	}
	fmt.Println("RENAMED")
	return nil
}

func (o *holderOrders) closeFrom(n int) error {
	for fd := 3 + n; fd < 3+o.Sockets; fd++ {
		_ = unix.Close(fd)
	}
	fmt.Println("CLOSED")
	return nil
}

// disguise makes the process look as ordered. It changes the user last: afterwards
// nothing else is allowed.
func (o *holderOrders) disguise() error {
	if o.IgnoreTerm {
		signal.Ignore(unix.SIGTERM)
	}
	if len(o.Comm) > 0 {
		if err := os.WriteFile("/proc/self/comm", o.Comm, 0); err != nil {
			return err
		}
	}
	if o.NoFile > 0 {
		// Set it through package syscall, or a later exec would undo it.
		if err := syscall.Setrlimit(unix.RLIMIT_NOFILE, &syscall.Rlimit{Cur: o.NoFile, Max: o.NoFile}); err != nil {
			return fmt.Errorf("RLIMIT_NOFILE: %w", err)
		}
	}
	if o.UID == 0 {
		return nil
	}
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("setgroups: %w", err)
	}
	if err := syscall.Setgid(o.UID); err != nil {
		return fmt.Errorf("setgid: %w", err)
	}
	if err := syscall.Setuid(o.UID); err != nil {
		return fmt.Errorf("setuid: %w", err)
	}
	return nil
}

// HasUsers reports whether we can become users other than root; in the user namespace of
// an unprivileged user we cannot.
func HasUsers() bool {
	b, err := os.ReadFile("/proc/self/uid_map")
	return err == nil && len(strings.Split(strings.TrimSpace(string(b)), "\n")) == 1 && strings.HasSuffix(strings.TrimSpace(string(b)), "4294967295")
}
