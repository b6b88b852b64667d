package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/trust"
	"sockwarden/engine/memory"
)

// ErrHeld says that another watcher has the socket.
var ErrHeld = errors.New("another watcher has the control socket")

const (
	// maxPath is the longest path of a Unix socket, in bytes (struct sockaddr_un).
	maxPath = 107
	backlog = 128
)

// socket is a control socket that we hold.
type socket struct {
	net.Listener
	path string
	lock *os.File
}

// listen makes the socket. Its directory must belong to us and to nobody else, as whoever
// can replace the socket could answer in our name. A lock beside it tells a socket that a
// killed watcher has left from one that is in use: then the error is ErrHeld. Members of
// group may connect, too, unless it is "".
func listen(path, group string) (*socket, error) {
	if len(path) > maxPath {
		return nil, fmt.Errorf("%s is too long for a socket: at most %d bytes", path, maxPath)
	}
	dir := filepath.Dir(path)
	if err := memory.MakeDir(dir); err != nil {
		return nil, err
	}
	if err := new(trust.Checker).Dir(dir); err != nil {
		return nil, fmt.Errorf("others could put another socket in its place: %w", err)
	}
	mode, gid, err := permissions(group)
	if err != nil {
		return nil, err
	}
	lock, holder, err := memory.Lock(path + lockSuffix)
	if errors.Is(err, memory.ErrLocked) {
		return nil, fmt.Errorf("%w: process %s holds %s", ErrHeld, holder, path)
	}
	if err != nil {
		return nil, err
	}
	l, err := bind(path, mode, gid)
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	return &socket{l, path, lock}, nil
}

// permissions returns the mode of the socket, and the group that it belongs to (-1 for ours).
func permissions(group string) (mode uint32, gid int, err error) {
	if group == "" {
		return 0o600, -1, nil
	}
	if gid, err := strconv.Atoi(group); err == nil {
		return 0o660, gid, nil
	}
	g, err := user.LookupGroup(group)
	if err != nil {
		return 0, 0, fmt.Errorf("there is no group %q", group)
	}
	gid, err = strconv.Atoi(g.Gid)
	return 0o660, gid, err //nolint:wrapcheck // it is a number
}

// bind puts a new socket in the place of one that nobody holds any more. Until it has its
// mode and its name, nobody can connect.
func bind(path string, mode uint32, gid int) (net.Listener, error) {
	if st, err := os.Lstat(path); err == nil && st.Mode().Type() != fs.ModeSocket {
		return nil, fmt.Errorf("%s is there, and is not a socket", path)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("socket: %w", err)
	}
	tmp := filepath.Join(filepath.Dir(path), ".c"+strconv.Itoa(os.Getpid()))
	_ = os.Remove(tmp) // of an earlier process with this number
	steps := []func() error{
		func() error { return unix.Bind(fd, &unix.SockaddrUnix{Name: tmp}) },
		func() error { return os.Lchown(tmp, -1, gid) },
		func() error { return os.Chmod(tmp, fs.FileMode(mode)) },
		func() error { return os.Rename(tmp, path) },
		func() error { return unix.Listen(fd, backlog) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			_ = unix.Close(fd)
			_ = os.Remove(tmp)
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	f := os.NewFile(uintptr(fd), path)
	defer func() { _ = f.Close() }()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return l, nil
}

// close removes the socket and gives up the lock.
func (s *socket) close() {
	_ = os.Remove(s.path)
	_ = s.Close()
	_ = s.lock.Close()
}
