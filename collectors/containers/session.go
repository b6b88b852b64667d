package containers

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/trust"
)

// session is a connection to an engine's API: HTTP without a pool, hence without
// goroutines, one request after the other.
type session struct {
	path string
	conn net.Conn
	in   *bounded
	r    *bufio.Reader
	// spent says that the session can take no more requests: after an error, or when the
	// engine closes the connection.
	spent bool
}

// answer is what an engine says in response to a request.
type answer struct {
	status int
	engine Engine
	body   []byte
}

// headLimit bounds the header of an answer, in bytes.
const headLimit = 64 << 10

// open connects to a socket that only root or the running user can have made, and on
// which one of them listens.
func open(ctx context.Context, path string) (*session, error) {
	var checker trust.Checker
	if err := checker.Socket(path); err != nil {
		return nil, distrusted(path, err)
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	if err != nil {
		return nil, at(path, err)
	}
	uid, err := peer(conn)
	if err == nil && uid != 0 && int(uid) != os.Geteuid() {
		err = fmt.Errorf("%w: uid %d answers there", ErrUntrusted, uid)
	}
	if err != nil {
		_ = conn.Close()
		return nil, at(path, err)
	}
	in := &bounded{from: conn}
	return &session{path: path, conn: conn, in: in, r: bufio.NewReader(in)}, nil
}

// distrusted says whether package trust could not look, or what it found.
func distrusted(path string, err error) error {
	if reason := reasonOf(err); reason != nil && !errors.Is(reason, ErrUnreadable) {
		return at(path, err)
	}
	return fmt.Errorf("%s: %w: %w", path, ErrUntrusted, err)
}

// at says where an error occurred and what it means.
func at(path string, err error) error {
	if reason := reasonOf(err); reason != nil {
		return fmt.Errorf("%s: %w (%w)", path, reason, err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// peer returns the user at the other end (SO_PEERCRED in socket(7)).
func peer(conn net.Conn) (uint32, error) {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return 0, errors.New("no Unix socket")
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, err //nolint:wrapcheck // by open
	}
	var cred *unix.Ucred
	if controlErr := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); controlErr != nil {
		return 0, controlErr //nolint:wrapcheck // by open
	}
	if err != nil {
		return 0, err //nolint:wrapcheck // by open
	}
	return cred.Uid, nil
}

func (s *session) close() { _ = s.conn.Close() }

// send sends a request without waiting for the answer.
func (s *session) send(ctx context.Context, method, target string) (*http.Request, error) {
	// Nobody reads the host name, but engines refuse a request without one.
	req, err := http.NewRequestWithContext(ctx, method, "http://engine"+target, http.NoBody)
	if err != nil {
		return nil, at(s.path, err)
	}
	req.Header.Set("User-Agent", "sockwarden")
	if err := req.Write(s.conn); err != nil {
		return nil, at(s.path, err)
	}
	return req, nil
}

// receive reads the answer to a request, at most limit bytes of its body.
func (s *session) receive(req *http.Request, limit int) (answer, error) {
	s.in.left = headLimit
	resp, err := http.ReadResponse(s.r, req)
	if err != nil {
		return answer{}, at(s.path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	s.in.left = limit
	a := answer{status: resp.StatusCode, engine: engineOf(resp.Header.Get("Server"))}
	if a.body, err = io.ReadAll(resp.Body); err != nil {
		return answer{}, at(s.path, err)
	}
	s.spent = resp.Close
	return a, nil
}

// get asks and waits for the answer, for the given time or until ctx ends.
func (s *session) get(ctx context.Context, target string, wait time.Duration, limit int) (answer, error) {
	defer s.until(ctx, wait)()
	s.spent = true // unless the answer is complete
	req, err := s.send(ctx, http.MethodGet, target)
	if err != nil {
		return answer{}, err
	}
	return s.receive(req, limit)
}

// until makes reads and writes end after a time, and with ctx.
func (s *session) until(ctx context.Context, wait time.Duration) (stop func() bool) {
	_ = s.conn.SetDeadline(time.Now().Add(wait))
	return context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Unix(1, 0)) })
}

// engineOf returns the engine that answers: podman can also be behind Docker's socket.
func engineOf(server string) Engine {
	if strings.HasPrefix(server, "Libpod/") {
		return Podman
	}
	return Docker
}

// errTooLong says that an answer exceeds its limit.
var errTooLong = errors.New("it is too long")

// bounded reads up to a limit.
type bounded struct {
	from io.Reader
	left int
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errTooLong
	}
	n, err := b.from.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err //nolint:wrapcheck // an io.Reader
}
