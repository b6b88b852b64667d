package containers

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Engines are asked one after the other, from recordings of both.
func TestLookup(t *testing.T) {
	docker := engine(t, recording(t, dockers()))
	podman := engine(t, recording(t, map[string]string{
		"/containers/json": "podman-4.3.1-list.json", "/containers/" + podHbbr + "/json": "podman-4.3.1-inspect.json",
		"/containers/" + podHost + "/json": "podman-4.3.1-inspect-host.json",
	}))
	n, _ := asked(Places{DockerSockets: []string{"/run/none.sock", docker}, PodmanSockets: []string{podman}})
	answers := n.Lookup(t.Context(), Ref{ID: hbbr}, Ref{ID: podHbbr}, Ref{ID: podHost}, Ref{ID: nobody}, Ref{ID: "hbbr"}, Ref{ID: hbbr})
	if len(answers) != 5 {
		t.Errorf("%d answers", len(answers))
	}
	want := wantHbbr()
	want.Source = docker
	if diff := cmp.Diff(want, answers[hbbr].Container, whole...); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for id, name := range map[string]string{podHbbr: "hbbr", podHost: "hostnet"} {
		if c := answers[id].Container; c.Name != name || c.Engine != Podman || c.Source != podman {
			t.Errorf("%+v, %v", c, answers[id].Err)
		}
	}
	if err := answers[nobody].Err; !errors.Is(err, ErrNoSuch) {
		t.Errorf("nobody: %v", err)
	}
	if err := answers["hbbr"].Err; !errors.Is(err, ErrNoID) {
		t.Errorf("no id: %v", err)
	}
}

// An answer is valid for a minute, a no for ten seconds.
func TestMemory(t *testing.T) {
	var requests atomic.Int64
	of := dockers()
	n, turned := asked(Places{DockerSockets: []string{engine(t, func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		recording(t, of)(w, r)
	})}})
	step := func(after time.Duration, want int64) {
		t.Helper()
		turned.t = turned.t.Add(after)
		requests.Store(0)
		a := n.Lookup(t.Context(), Ref{ID: hbbr}, Ref{ID: nobody})
		if a[hbbr].Container.Name != "hbbr" || !errors.Is(a[nobody].Err, ErrNoSuch) {
			t.Errorf("%+v", a)
		}
		if got := requests.Load(); got != want {
			t.Errorf("%d requests, want %d", got, want)
		}
	}
	step(0, 3)                        // list, both
	step(0, 0)                        // everything is known
	step(DefaultRetry-1, 0)           // still
	step(1, 2)                        // list, nobody
	step(DefaultKeep-DefaultRetry, 3) // both again
	step(DefaultKeep-time.Second, 2)  // only nobody
	step(time.Second, 1+1)            // only hbbr
	n.memory.put(Ref{ID: hbbr, PodUID: "x"}, Answer{}, false)
	step(DefaultRetry, 3) // an answer about another pod's container does not count
}

// The memory stays within its limit, however many ids come along.
func TestBounded(t *testing.T) {
	n, _ := asked(Places{})
	refs := make([]Ref, maxKept*3/2)
	for i := range refs {
		refs[i].ID = fmt.Sprintf("%064x", i)
	}
	answers := n.Lookup(t.Context(), refs...)
	if len(answers) != len(refs) || len(n.memory.of) > maxKept || len(n.memory.of) < maxKept/2 {
		t.Errorf("%d answers, %d remembered", len(answers), len(n.memory.of))
	}
}

// What engines must not do: nobody waits for long, nothing they say is believed, and
// nothing is left behind.
func TestBadEngines(t *testing.T) {
	silence := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	status := func(code int, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code); _, _ = w.Write([]byte(text)) }
	}
	inspect := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/containers/json") {
				text := `[]`
				_, _ = w.Write([]byte(text))
				return
			}
			_, _ = w.Write([]byte(text))
		}
	}
	before, files := runtime.NumGoroutine(), descriptors(t)
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    error
	}{
		"silent":    {silence, ErrSilent},
		"drips":     {func(w http.ResponseWriter, r *http.Request) { drip(w, r, "[") }, ErrSilent},
		"endless":   {func(w http.ResponseWriter, r *http.Request) { flood(w, r, "[{}") }, ErrUnreadable},
		"long head": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 2*headLimit)) }, ErrUnreadable},
		"no JSON":   {status(http.StatusOK, "hello"), ErrUnreadable},
		"no object": {status(http.StatusOK, `[1,2]`), ErrUnreadable},
		"deep":      {status(http.StatusOK, strings.Repeat("[", 1<<20)), ErrUnreadable},
		"error":     {status(http.StatusInternalServerError, `{"message":"\u001b[2Jdown"}`), ErrUnreadable},
		"moved": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1/", http.StatusFound)
		}, ErrUnreadable},
		"other id":    {inspect(`{"Id":"` + nobody + `","Name":"/hbbr"}`), ErrUnreadable},
		"escape":      {inspect(`{"Id":"` + hbbr + `","Name":"/a\u001b[2J"}`), ErrUnreadable},
		"newline":     {inspect(`{"Id":"` + hbbr + `","Name":"/a\nb"}`), ErrUnreadable},
		"long name":   {inspect(`{"Id":"` + hbbr + `","Name":"/` + strings.Repeat("a", 1<<16) + `"}`), ErrUnreadable},
		"no name":     {inspect(`{"Id":"` + hbbr + `"}`), ErrUnreadable},
		"no such":     {status(http.StatusNotFound, `{"message":"No such container"}`), ErrNoSuch},
		"hangs up":    {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, ErrSilent},
		"wrong types": {inspect(`{"Id":"` + hbbr + `","Name":"/a","State":{"Pid":"x"}}`), ErrUnreadable},
	} {
		t.Run(name, func(t *testing.T) {
			n, _ := asked(Places{DockerSockets: []string{engine(t, test.handler)}})
			if test.want == ErrSilent { //nolint:errorlint // it is this one
				n, _ = impatient(n.places)
			}
			began := time.Now()
			c, err := look(t, n, Ref{ID: hbbr})
			if !errors.Is(err, test.want) {
				t.Errorf("%+v, %v; want %v", c, err, test.want)
			}
			if strings.ContainsAny(fmt.Sprint(err), "\x1b\n") {
				t.Errorf("%q", err)
			}
			if took := time.Since(began); took > askLimit+time.Minute {
				t.Errorf("%s", took)
			}
			settle(n)
		})
	}
	wait := time.Now().Add(2 * time.Minute)
	for runtime.NumGoroutine() > before && time.Now().Before(wait) {
		runtime.Gosched()
	}
	if after := runtime.NumGoroutine(); after > before {
		t.Errorf("%d goroutines, %d before", after, before)
	}
	if after := descriptors(t); after > files {
		t.Errorf("%d descriptors, %d before", after, files)
	}
}

func descriptors(t testing.TB) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	must(t, "descriptors", err)
	return len(open)
}

// drip sends a byte now and then, so no single read takes long.
func drip(w http.ResponseWriter, r *http.Request, text string) {
	for tick := time.Tick(10 * time.Millisecond); ; {
		_, err := w.Write([]byte(text))
		if err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-tick:
		case <-r.Context().Done():
			return
		}
	}
}

// flood never ends.
func flood(w http.ResponseWriter, r *http.Request, text string) {
	for r.Context().Err() == nil {
		if _, err := w.Write([]byte(strings.Repeat(text, 1000))); err != nil {
			return
		}
	}
}

// A silent engine makes nobody wait twice, and is known again as soon as it answers.
func TestSilentOnce(t *testing.T) {
	var silent atomic.Bool
	silent.Store(true)
	of := dockers()
	path := engine(t, func(w http.ResponseWriter, r *http.Request) {
		if silent.Load() {
			<-r.Context().Done()
			return
		}
		recording(t, of)(w, r)
	})
	turned := &clock{time.Unix(1e9, 0)}
	n := New(Options{Places: Places{DockerSockets: []string{path}}, Patience: 50 * time.Millisecond, Now: turned.now})
	began := time.Now()
	if _, err := look(t, n, Ref{ID: hbbr}); !errors.Is(err, ErrSilent) {
		t.Errorf("%v", err)
	}
	if took := time.Since(began); took < 50*time.Millisecond {
		t.Errorf("%s: it did not wait", took)
	}
	settle(n)
	n.patience = time.Hour // a wait would never end
	if _, err := look(t, n, Ref{ID: hostnet}); !errors.Is(err, ErrSilent) {
		t.Errorf("%v", err)
	}
	settle(n)
	silent.Store(false)
	n.waits = waits{30 * time.Second, 30 * time.Second, time.Minute} // now it answers, if slowly
	turned.t = turned.t.Add(DefaultRetry)
	if _, err := look(t, n, Ref{ID: hbbr}); !errors.Is(err, ErrSilent) {
		t.Errorf("%v", err)
	}
	settle(n)
	if c, err := look(t, n, Ref{ID: hbbr}); err != nil || c.Name != "hbbr" {
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := look(t, n, Ref{ID: hostnet}); err != nil || c.Name != "hostnet" { // it waits again
		t.Errorf("%+v, %v", c, err)
	}
}

// A container that its engine holds locked is known from the list, and delays no other
// one.
func TestLockedContainer(t *testing.T) {
	of := dockers()
	var asks atomic.Int64
	n, turned := asked(Places{DockerSockets: []string{engine(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/containers/"+hbbr+"/json" {
			asks.Add(1)
			<-r.Context().Done()
			return
		}
		recording(t, of)(w, r)
	})}})
	n.waits.inspect = time.Second
	a := n.Lookup(t.Context(), Ref{ID: hbbr}, Ref{ID: hostnet})
	if c := a[hbbr].Container; a[hbbr].Err != nil || c.Name != "hbbr" || c.ComposeService != "relay" || len(c.Published) != 4 || c.Has(PartInit) {
		t.Errorf("%+v, %v", c, a[hbbr].Err)
	}
	if c := a[hostnet].Container; c.Name != "hostnet" || !c.Has(PartInit) {
		t.Errorf("%+v, %v", c, a[hostnet].Err)
	}
	// It is soon asked about again, and nobody waits for that.
	turned.t = turned.t.Add(DefaultRetry)
	n.patience = time.Hour
	if c, err := look(t, n, Ref{ID: hbbr}); err != nil || c.Name != "hbbr" {
		t.Errorf("%+v, %v", c, err)
	}
	settle(n)
	if got := asks.Load(); got != 2 {
		t.Errorf("asked %d times", got)
	}
}

// An absent engine costs a few system calls, and the error says that there is none.
func TestNoEngine(t *testing.T) {
	dir := folder(t)
	l, err := net.Listen("unix", dir+"/dead.sock")
	must(t, "listen", err)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	must(t, "close", l.Close())
	for name, p := range map[string]Places{
		"nothing": {}, "no socket": {DockerSockets: []string{dir + "/none.sock"}, PodmanSockets: []string{dir + "/none/none.sock"}},
		"nobody listens": {DockerSockets: []string{dir + "/dead.sock"}},
		"no files": {
			DataRoots: []string{dir + "/none"}, Bundles: []string{dir + "/none"}, Storages: []string{dir + "/none"}, StorageRuns: []string{dir + "/none"},
			DaemonFiles: []string{dir + "/none"}, PodLogs: dir + "/none",
		},
	} {
		n, _ := asked(p)
		if c, err := look(t, n, Ref{ID: hbbr, PodUID: "01234567-89ab-cdef-0123-456789abcdef"}); !errors.Is(err, ErrNoEngine) {
			t.Errorf("%s: %+v, %v", name, c, err)
		}
		if all, err := n.Running(t.Context()); !errors.Is(err, ErrNoEngine) || len(all) != 0 {
			t.Errorf("%s: %+v, %v", name, all, err)
		}
		if _, err := n.Restart(t.Context(), Ref{ID: hbbr}, nil); !errors.Is(err, ErrNoEngine) {
			t.Errorf("%s: restart: %v", name, err)
		}
	}
}
