package containers

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// All engines are asked at the same time, and not again right away.
func TestRunning(t *testing.T) {
	var asks atomic.Int64
	count := func(serve http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { asks.Add(1); serve(w, r) }
	}
	p := Places{
		DockerSockets: []string{engine(t, count(recording(t, dockers()))), "/run/none.sock"},
		PodmanSockets: []string{engine(t, count(recording(t, map[string]string{"/containers/json": "podman-4.3.1-list.json"})))},
	}
	n, turned := asked(p)
	for range 3 {
		all, err := n.Running(t.Context())
		must(t, "list", err)
		var names []string
		for _, c := range all {
			names = append(names, string(c.Engine)+" "+c.Name)
		}
		if got := strings.Join(names, ", "); got != "docker hbbr, podman hbbr, podman hostnet, docker hostnet" { // by name and id
			t.Error(got)
		}
	}
	if asks.Load() != 2 {
		t.Errorf("asked %d times", asks.Load())
	}
	turned.t = turned.t.Add(DefaultRetry)
	if _, err := n.Running(t.Context()); err != nil || asks.Load() != 4 {
		t.Errorf("asked %d times, %v", asks.Load(), err)
	}
	// An engine that does not answer costs nobody the answers of the others.
	p.DockerSockets = append(p.DockerSockets, engine(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	for wait := time.Second; ; wait *= 2 { // a busy machine needs more to answer
		n, _ = asked(p)
		n.waits.list = wait
		if all, err := n.Running(t.Context()); errors.Is(err, ErrSilent) && len(all) == 4 {
			break
		} else if wait > 10*time.Second {
			t.Fatalf("%d, %v", len(all), err)
		}
	}
}

// Only engines that could answer are asked whether they do.
func TestAsked(t *testing.T) {
	of := map[string]string{"/_ping": "OK"}
	silent := engine(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	answers, other := engine(t, recording(t, of)), engine(t, recording(t, nil))
	n, _ := asked(Places{DockerSockets: []string{answers, "/nowhere.sock"}, PodmanSockets: []string{other}})
	for i, want := range []error{nil, ErrNoEngine, ErrUnreadable} {
		if s := n.Asked(t.Context()); len(s) != 3 || !errors.Is(s[i].Err, want) {
			t.Errorf("%+v", s)
		}
	}
	n, _ = asked(Places{DockerSockets: []string{silent}})
	n.waits.all = 50 * time.Millisecond
	if s := n.Asked(t.Context()); len(s) != 1 || !errors.Is(s[0].Err, ErrSilent) || n.Sources()[0].Err != nil {
		t.Errorf("%+v", s)
	}
}

// A restart is requested at once, whoever else waits; the connection stays until the
// engine is done.
func TestRestart(t *testing.T) {
	running, restarted := make(chan string, 1), make(chan struct{})
	var broke atomic.Bool
	of := dockers()
	n, _ := asked(Places{DockerSockets: []string{engine(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			recording(t, of)(w, r)
			return
		}
		running <- r.URL.String()
		select {
		case <-restarted:
			w.WriteHeader(http.StatusNoContent)
		case <-r.Context().Done():
			broke.Store(true)
		}
	})}})
	r, err := n.Restart(t.Context(), Ref{ID: hbbr}, nil)
	must(t, "restart", err)
	if got := <-running; got != "/containers/"+hbbr+"/restart" {
		t.Error(got)
	}
	if done, err := r.Done(t.Context()); done || err != nil {
		t.Errorf("%t, %v before the restart", done, err)
	}
	close(restarted)
	if broke.Load() {
		t.Error("nobody awaits the engine's answer")
	}
	of["/containers/"+hbbr+"/json"] = "docker-20.10.24-inspect-stopped.json"
	if done, err := r.Done(t.Context()); done || err != nil {
		t.Errorf("%t, %v while it does not run", done, err)
	}
	anew := strings.NewReplacer("13:38:33.733933377Z", "13:40:00Z", `"Pid":237`, `"Pid":500`).Replace(string(recorded(t, "docker-20.10.24-inspect.json")))
	of["/containers/"+hbbr+"/json"] = anew
	if done, err := r.Done(t.Context()); !done || err != nil {
		t.Errorf("%t, %v after the restart", done, err)
	}
	delete(of, "/containers/"+hbbr+"/json")
	if done, err := r.Done(t.Context()); done || !errors.Is(err, ErrNoSuch) {
		t.Errorf("%t, %v after rm", done, err)
	}
}

// A refusal by the engine is reported.
func TestRestartRefused(t *testing.T) {
	of := dockers()
	n, _ := asked(Places{DockerSockets: []string{engine(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			http.Error(w, `{"message":"cannot restart: driver failed"}`, http.StatusInternalServerError)
			return
		}
		recording(t, of)(w, r)
	})}})
	r, err := n.Restart(t.Context(), Ref{ID: hbbr}, nil)
	must(t, "restart", err)
	for wait := time.Now().Add(time.Minute); ; {
		if _, err = r.Done(t.Context()); err != nil || time.Now().After(wait) {
			break
		}
	}
	if err == nil || !strings.Contains(err.Error(), "driver failed") {
		t.Errorf("%v", err)
	}
	if _, err := n.Restart(t.Context(), Ref{ID: nobody}, nil); !errors.Is(err, ErrNoSuch) {
		t.Errorf("%v", err)
	}
	if _, err := n.Restart(t.Context(), Ref{ID: "../../images"}, nil); !errors.Is(err, ErrNoID) {
		t.Errorf("%v", err)
	}
}

func TestDockerHost(t *testing.T) {
	p := Host()
	before := len(p.DockerSockets)
	for _, value := range []string{"", "tcp://127.0.0.1:2375", "unix://", "unix://run/x.sock", "ssh://host", "/run/x.sock"} {
		if err := p.AddDockerHost(value); err == nil || len(p.DockerSockets) != before {
			t.Errorf("%q is one", value)
		}
	}
	if err := p.AddDockerHost("unix:///run/x.sock"); err != nil || p.DockerSockets[0] != "/run/x.sock" || !slices.Contains(p.DockerSockets, "/run/docker.sock") {
		t.Errorf("%v, %q", err, p.DockerSockets)
	}
}
