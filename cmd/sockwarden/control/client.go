package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"sockwarden/engine/watch"
)

var (
	// ErrNobody says that no watcher answers.
	ErrNobody = errors.New("no watcher answers")
	// ErrNotAllowed says that this user may not talk to the watcher, or not change what it does.
	ErrNotAllowed = errors.New("not permitted")
)

// Refused is what a watcher answers instead of what it was asked for.
type Refused struct {
	Code     int // of HTTP
	Text     string
	Problems []watch.Problem
}

func (e *Refused) Error() string { return e.Text }

// Unwrap is ErrNotAllowed if that is why.
func (e *Refused) Unwrap() error {
	if e.Code == http.StatusForbidden {
		return ErrNotAllowed
	}
	return nil
}

// Starting reports whether an error says that the watcher has not begun to look.
func Starting(err error) bool {
	no, ok := errors.AsType[*Refused](err)
	return ok && no.Code == http.StatusServiceUnavailable
}

// Client asks the watcher on one control socket.
type Client struct {
	Path string
	// Version is that of the watcher, as its last answer said.
	Version string
	http    http.Client
}

// Find connects to the first watcher that answers at one of the places. The error is
// ErrNobody or ErrNotAllowed; it names the places.
func Find(ctx context.Context, places []string) (*Client, error) {
	var denied []string
	for _, path := range places {
		conn, err := dial(ctx, path)
		if err == nil {
			_ = conn.Close()
			return newClient(path), nil
		}
		if errors.Is(err, fs.ErrPermission) {
			denied = append(denied, path)
		}
	}
	if len(denied) > 0 {
		return nil, fmt.Errorf("%w: only its user, root and its --control-group may connect to %s", ErrNotAllowed, strings.Join(denied, ", "))
	}
	if len(places) == 0 {
		return nil, ErrNobody
	}
	return nil, fmt.Errorf("%w on %s", ErrNobody, strings.Join(places, ", "))
}

func dial(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", path) //nolint:wrapcheck // by Find
}

func newClient(path string) *Client {
	return &Client{Path: path, http: http.Client{Transport: &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, path) },
		DisableKeepAlives: true,
	}}}
}

// maxAnswer bounds what we read of an answer, in bytes.
const maxAnswer = 64 << 20

// Do asks for something and decodes the answer into v, unless that is nil. It returns the
// status of HTTP. The error is ErrNobody, a *Refused, or that of the context.
func (c *Client) Do(ctx context.Context, method, path string, request, v any) (int, error) {
	code, b, err := c.send(ctx, method, path, request)
	if err != nil || v == nil {
		return code, err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return 0, fmt.Errorf("the watcher's answer is not understood: %w", err)
	}
	return code, nil
}

// send is Do that returns the answer as it is.
func (c *Client) send(ctx context.Context, method, path string, request any) (int, []byte, error) {
	var b []byte
	if request != nil {
		var err error
		if b, err = json.Marshal(request); err != nil {
			return 0, nil, fmt.Errorf("ask the watcher: %w", err)
		}
	}
	q, err := http.NewRequestWithContext(ctx, method, "http://watcher"+path, bytes.NewReader(b)) //nolint:gosec // the path is ours, and goes to a Unix socket
	if err != nil {
		return 0, nil, fmt.Errorf("ask the watcher: %w", err)
	}
	r, err := c.http.Do(q) //nolint:gosec // as above
	switch {
	case ctx.Err() != nil:
		return 0, nil, fmt.Errorf("ask the watcher: %w", context.Cause(ctx))
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return 0, nil, fmt.Errorf("%w on %s", ErrNobody, c.Path)
	case err != nil:
		return 0, nil, fmt.Errorf("ask the watcher: %w", err)
	}
	defer func() { _ = r.Body.Close() }()
	c.Version = r.Header.Get(VersionHeader)
	b, err = io.ReadAll(io.LimitReader(r.Body, maxAnswer))
	if err != nil {
		return 0, nil, fmt.Errorf("the watcher's answer ends too early: %w", err)
	}
	if r.StatusCode >= http.StatusBadRequest {
		var doc errorDoc
		if err := json.Unmarshal(b, &doc); err != nil || doc.Error == "" {
			doc.Error = fmt.Sprintf("the watcher answers %s", r.Status)
		}
		return r.StatusCode, nil, &Refused{r.StatusCode, doc.Error, doc.Problems}
	}
	return r.StatusCode, b, nil
}

// Status asks how the watcher is.
func (c *Client) Status(ctx context.Context) (*watch.Status, error) {
	var s watch.Status
	if _, err := c.Do(ctx, http.MethodGet, "/v1/status", nil, &s); err != nil {
		return nil, err
	}
	return &s, nil
}

// pollEvery is how often Reload looks whether new rules are in force.
const pollEvery = 200 * time.Millisecond

// Reload has the watcher read its rules, and waits until they are in force, or rejected:
// the error then is a *Refused with the problems. While it waits, it says for what, each
// reason once.
func (c *Client) Reload(ctx context.Context, waiting func(why string)) (*watch.RulesStatus, error) {
	said := ""
	say := func(why string) {
		if why != said {
			said = why
			waiting(why)
		}
	}
	var stands watch.RulesStatus
	for {
		_, err := c.Do(ctx, http.MethodPost, "/v1/reload", nil, &stands)
		if busy, ok := errors.AsType[*Refused](err); ok && busy.Code == http.StatusConflict {
			say(busy.Text)
			continue
		}
		if err != nil {
			return nil, err
		}
		break
	}
	for stands.Settling != nil {
		say(stands.Settling.Why())
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %s", context.Cause(ctx), said)
		}
		s, err := c.Status(ctx)
		if err != nil {
			return nil, err
		}
		stands = s.Rules
	}
	if !stands.LastReload.OK {
		return nil, &Refused{http.StatusUnprocessableEntity, "the rules are rejected", stands.LastReload.Problems}
	}
	return &stands, nil
}
