package containers

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sockwarden/collectors/socklab"
)

func TestMain(m *testing.M) { socklab.Main(m) }

// The containers in the recordings.
const (
	hbbr    = "83543cc32ef5700ba19cca5185490faecb13564ec1002e765e145c56d2588a32" // docker
	hostnet = "8ddde18438b215933de369194cc6446467d2fe5a7af7cd97901c5a86051a4ce6"
	podHbbr = "bdcf3cf97b5b13c95e36cae0bb7be1de228bd40262d3542c4927d9cf0857dd6b" // podman
	podHost = "29dc59211108c8a04991243fd603ace6ef2445f6a7020748102c2cacf4fb2a24"
	nobody  = "0000000000000000000000000000000000000000000000000000000000000000"
)

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func recorded(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	must(t, "recording", err)
	return b
}

// folder makes a directory that only we can write.
func folder(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	must(t, "chmod", os.Chmod(dir, 0o755))
	return dir
}

func put(t testing.TB, path string, content []byte) {
	t.Helper()
	must(t, "mkdir", os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, "write", os.WriteFile(path, content, 0o600))
}

// engine listens like an engine and answers with handler.
func engine(t testing.TB, handler http.HandlerFunc) (path string) {
	t.Helper()
	path = folder(t) + "/engine.sock"
	l, err := net.Listen("unix", path)
	must(t, "listen", err)
	ctx, cancel := context.WithCancel(t.Context())
	s := &http.Server{Handler: handler, BaseContext: func(net.Listener) context.Context { return ctx }}
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		cancel() // ends handlers that withhold their answer
		_ = s.Close()
		<-done
	})
	return path
}

// recording answers with the recording for the path of the request, and refuses
// everything else as Docker does.
func recording(t testing.TB, of map[string]string) http.HandlerFunc {
	t.Helper()
	return func(w http.ResponseWriter, r *http.Request) {
		name, ok := of[r.URL.Path]
		if !ok {
			w.WriteHeader(http.StatusNotFound)
			_, _ = w.Write([]byte(`{"message":"No such container: ` + r.URL.Path + `"}`))
			return
		}
		w.Header().Set("Server", "Docker/20.10.24 (linux)")
		if strings.HasPrefix(name, "podman") {
			w.Header().Set("Server", "Libpod/4.3.1 (linux)")
		}
		b, err := os.ReadFile("testdata/" + name)
		if err != nil {
			b = []byte(name)
		}
		_, _ = w.Write(b)
	}
}

// dockers maps paths to the recorded answers of a Docker engine.
func dockers() map[string]string {
	return map[string]string{
		"/containers/json":                    "docker-20.10.24-list.json",
		"/containers/" + hbbr + "/json":       "docker-20.10.24-inspect.json",
		"/containers/" + hostnet + "/json":    "docker-20.10.24-inspect-host.json",
		"/containers/" + hbbr + "/restart/no": "",
	}
}

// clock is a clock that tests turn.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

// asked makes a Names with enough patience for a slow machine.
func asked(p Places) (*Names, *clock) {
	n, c := impatient(p)
	n.waits = waits{30 * time.Second, 30 * time.Second, time.Minute}
	return n, c
}

// impatient makes a Names with the usual limits for engines; its callers wait for those.
func impatient(p Places) (*Names, *clock) {
	c := &clock{time.Unix(1e9, 0)}
	return New(Options{Places: p, Patience: time.Minute, Now: c.now}), c
}

// look looks one container up.
func look(t testing.TB, n *Names, ref Ref) (Container, error) {
	t.Helper()
	a, ok := n.Lookup(t.Context(), ref)[ref.ID]
	if !ok {
		t.Fatalf("%s: no answer", ref.ID)
	}
	return a.Container, a.Err
}

// settle waits until nothing runs in the background.
func settle(n *Names) {
	n.lane.mu.Lock()
	done := n.lane.done
	n.lane.mu.Unlock()
	if done != nil {
		<-done
	}
}
