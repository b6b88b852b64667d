package sockdiag

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/collectors/stuck"
)

const envNobody = "SOCKDIAG_TEST_PORT_FOR_NOBODY"

// A thread without CAP_NET_ADMIN sees everything but may not destroy.
func TestWithoutNetAdmin(t *testing.T) {
	subject := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	s := find(t, dialTest(t, -1), subject)
	err := socklab.WithoutCapability(t, func() error {
		c, err := Dial(-1)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err := c.Get(t.Context(), &s); err != nil {
			return err
		}
		return c.Destroy(stuck.OnThisThread(t.Context()), &s)
	}, unix.CAP_NET_ADMIN)
	if !errors.Is(err, collectors.ErrNotPermitted) {
		t.Errorf("destroy: %v", err)
	}
	if state, ok := subject.Now(); !ok || state != collectors.CloseWait {
		t.Errorf("afterwards it is %s (%t)", state, ok)
	}
}

// Another user sees everything, but may neither destroy nor enter another namespace. The
// user change is permanent, so it happens in a child.
func TestUnprivileged(t *testing.T) {
	if port, is := os.LookupEnv(envNobody); is {
		asNobody(t, port)
		return
	}
	subject := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	exe, err := os.Executable()
	must(t, "own executable", err)
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^TestUnprivileged$", "-test.v")
	cmd.Env = append(os.Environ(), envNobody+"="+strconv.Itoa(int(subject.Local.Port())))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skipf("%s", out)
	}
	if state, ok := subject.Now(); !ok || state != collectors.CloseWait {
		t.Errorf("afterwards it is %s (%t)", state, ok)
	}
}

func asNobody(t *testing.T, port string) {
	peer := socklab.Peer(t)
	if err := syscall.Setuid(65534); err != nil {
		socklab.Lacks(t, fmt.Errorf("setuid: %w", err)) // a user namespace with one user
	}
	c := dialTest(t, -1)
	must(t, "SOCK_DESTROY", c.Supported(t.Context()))
	for _, s := range dumpTest(t, c, everything) {
		if strconv.Itoa(int(s.LocalPort)) != port {
			continue
		}
		if s.State != collectors.CloseWait || s.Info.Len == 0 || !s.Known.Has(collectors.FieldUID) || s.UID != 0 {
			t.Errorf("it looks like %+v", s)
		}
		if err := c.Destroy(t.Context(), &s); !errors.Is(err, collectors.ErrNotPermitted) {
			t.Errorf("destroy: %v", err)
		}
		s.Cookie++ // the kernel looks for the socket before it checks permissions
		if err := c.Destroy(t.Context(), &s); !errors.Is(err, collectors.ErrGone) {
			t.Errorf("destroy another cookie: %v", err)
		}
		if _, err := Dial(peer.FD()); !errors.Is(err, collectors.ErrNotPermitted) {
			t.Errorf("enter a namespace: %v", err)
		}
		return
	}
	t.Error("the socket is not seen")
}
