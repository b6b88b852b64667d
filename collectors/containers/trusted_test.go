package containers

import (
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

// Only root and the running user can be engines.
func TestForeignSocket(t *testing.T) {
	const stranger = 54321
	for name, change := range map[string]func(path string) error{
		"theirs": func(path string) error { return os.Chown(path, stranger, stranger) },
		"theirs by a link": func(path string) error {
			return errors.Join(os.Rename(path, path+"2"), os.Symlink(path+"2", path), os.Lchown(path, stranger, stranger))
		},
		"in a directory for all": func(path string) error {
			return os.Chmod(path[:strings.LastIndexByte(path, '/')], 0o777)
		},
	} {
		path := engine(t, recording(t, dockers()))
		if err := change(path); err != nil {
			socklab.Lacks(t, err)
		}
		n, _ := asked(Places{DockerSockets: []string{path}})
		if c, err := look(t, n, Ref{ID: hbbr}); !errors.Is(err, ErrUntrusted) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
		if _, err := n.Restart(t.Context(), Ref{ID: hbbr}, nil); !errors.Is(err, ErrUntrusted) {
			t.Errorf("%s: restart: %v", name, err)
		}
		if s := n.Sources(); len(s) != 1 || !errors.Is(s[0].Err, ErrUntrusted) {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// Nor is a socket of root's an engine when somebody else listens on it.
func TestForeignListener(t *testing.T) {
	path := folder(t) + "/engine.sock"
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	must(t, "socket", err)
	defer func() { _ = unix.Close(fd) }()
	must(t, "bind", unix.Bind(fd, &unix.SockaddrUnix{Name: path}))
	listened := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its user
		const keep = ^uintptr(0)
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, 54321, keep); errno != 0 {
			listened <- errno
			return
		}
		listened <- unix.Listen(fd, 1)
	}()
	if err := <-listened; err != nil {
		socklab.Lacks(t, err)
	}
	n, _ := asked(Places{DockerSockets: []string{path}})
	if c, err := look(t, n, Ref{ID: hbbr}); !errors.Is(err, ErrUntrusted) || !strings.Contains(err.Error(), "uid 54321 answers there") {
		t.Errorf("%+v, %v", c, err)
	}
}

// An ordinary user learns what is needed.
func TestUnprivileged(t *testing.T) {
	const path = "/run/nobody/engine.sock"
	if !socklab.IsNobody() {
		must(t, "mkdir", os.MkdirAll("/run/nobody", 0o755))
		l, err := net.Listen("unix", path)
		must(t, "listen", err)
		defer func() { _ = l.Close() }()
		must(t, "chmod", os.Chmod(path, 0o600)) // the group does not change
		put(t, "/run/nobody/data/containers/"+hbbr+"/config.v2.json", recorded(t, "docker-20.10.24-config.v2.json"))
		must(t, "chmod", os.Chmod("/run/nobody/data", 0o700))
	}
	socklab.AsNobody(t, func() {
		for _, p := range []Places{{DockerSockets: []string{path}}, {DataRoots: []string{"/run/nobody/data"}}} {
			n, _ := asked(p)
			if c, err := look(t, n, Ref{ID: hbbr}); !errors.Is(err, ErrNotPermitted) {
				t.Errorf("%+v, %v", c, err)
			}
		}
		n, _ := asked(Places{DockerSockets: []string{path}})
		if s := n.Sources(); len(s) != 1 || !errors.Is(s[0].Err, ErrNotPermitted) {
			t.Errorf("%+v", s)
		}
	})
}
