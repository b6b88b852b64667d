package containers

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
)

const podUID = "01234567-89ab-cdef-0123-456789abcdef"

// hostTree makes a host with the files of every engine.
func hostTree(t testing.TB) (dir string, p Places) {
	t.Helper()
	dir = folder(t)
	p = Places{
		DataRoots: []string{dir + "/docker"}, Bundles: []string{dir + "/k8s.io"}, Storages: []string{dir + "/storage"},
		StorageRuns: []string{dir + "/run"}, PodLogs: dir + "/pods",
	}
	put(t, dir+"/docker/containers/"+hbbr+"/config.v2.json", recorded(t, "docker-20.10.24-config.v2.json"))
	put(t, dir+"/docker/containers/"+hbbr+"/hostconfig.json", recorded(t, "docker-20.10.24-hostconfig.json"))
	put(t, dir+"/k8s.io/"+nobody+"/config.json", recorded(t, "containerd-1.6.20-config.json"))
	put(t, dir+"/k8s.io/"+nobody+"/init.pid", []byte("4711"))
	put(t, dir+"/storage/overlay-containers/containers.json", recorded(t, "podman-4.3.1-containers.json"))
	put(t, dir+"/storage/overlay-containers/"+podHbbr+"/userdata/config.json", recorded(t, "podman-4.3.1-config.json"))
	put(t, dir+"/run/overlay-containers/"+podHbbr+"/userdata/pidfile", []byte("138\n"))
	must(t, "mkdir", os.MkdirAll(dir+"/pods/shop_web-0_"+podUID, 0o755))
	return dir, p
}

func TestFiles(t *testing.T) {
	dir, p := hostTree(t)
	n, _ := asked(p)
	const logged = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"
	a := n.Lookup(t.Context(), Ref{ID: hbbr}, Ref{ID: nobody, PodUID: podUID}, Ref{ID: podHbbr}, Ref{ID: logged, PodUID: podUID}, Ref{ID: hostnet})
	if c := a[hbbr].Container; c.Name != "hbbr" || c.ComposeService != "relay" || c.NetworkMode != "net1" || c.Engine != Docker ||
		len(c.Published) != 4 || c.InitPID != 237 {
		t.Errorf("docker: %+v, %v", c, a[hbbr].Err)
	}
	if c := a[nobody].Container; c.Name != "nginx" || c.Pod != "shop/web-0" || c.Engine != CRI || c.InitPID != 4711 ||
		c.Image != "docker.io/nginx:1" || c.Known != PartName|PartPod|PartImage|PartInit || c.Source != dir+"/k8s.io/"+nobody {
		t.Errorf("CRI: %+v, %v", c, a[nobody].Err)
	}
	if c := a[podHbbr].Container; c.Name != "hbbr" || c.Engine != Podman || c.InitPID != 138 ||
		c.SandboxKey != "/run/netns/netns-d5476e20-f493-7341-237a-4f5a5a7d4627" ||
		c.Image != "localhost/test:1" || c.Has(PartLabels) || c.Has(PartPorts) {
		t.Errorf("podman: %+v, %v", c, a[podHbbr].Err)
	}
	if c := a[logged].Container; a[logged].Err != nil || c.Pod != "shop/web-0" || c.Known != PartPod {
		t.Errorf("logs: %+v, %v", c, a[logged].Err)
	}
	if err := a[hostnet].Err; !errors.Is(err, ErrNoSuch) {
		t.Errorf("%v", err)
	}
	if _, err := n.Restart(t.Context(), Ref{ID: nobody, PodUID: podUID}, nil); !errors.Is(err, ErrNotSupported) {
		t.Errorf("restart: %v", err)
	}
	// A pod that contradicts the control group is not an answer.
	n, _ = asked(Places{Bundles: p.Bundles})
	if c, err := look(t, n, Ref{ID: nobody, PodUID: strings.Replace(podUID, "0", "f", 1)}); !errors.Is(err, ErrUnreadable) {
		t.Errorf("another pod: %+v, %v", c, err)
	}
}

// daemon.json can name another data root.
func TestDataRoot(t *testing.T) {
	dir, p := hostTree(t)
	for text, want := range map[string]error{
		`{"data-root":"` + dir + `/docker"}`: nil, `{"data-root":"docker"}`: ErrNoEngine, `{`: ErrNoEngine, `{"data-root":"/a\u001b"}`: ErrNoEngine,
	} {
		put(t, dir+"/daemon.json", []byte(text))
		n, _ := asked(Places{DaemonFiles: []string{dir + "/daemon.json"}})
		if _, err := look(t, n, Ref{ID: hbbr}); !errors.Is(err, want) || want == nil && err != nil {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
	if len(p.DataRoots) != 1 || p.DataRoots[0] != dir+"/docker" {
		t.Errorf("%q", p.DataRoots)
	}
}

// Files that others could have written are not believed, and a file without an answer is
// reported as such.
func TestBadFiles(t *testing.T) {
	const stranger = 54321
	config := "/docker/containers/" + hbbr + "/config.v2.json"
	chown := func(path string) func(testing.TB, string) {
		return func(t testing.TB, dir string) {
			t.Helper()
			if err := os.Lchown(dir+path, stranger, stranger); err != nil {
				socklab.Lacks(t, err)
			}
		}
	}
	for name, test := range map[string]struct {
		change func(t testing.TB, dir string)
		ref    Ref
		want   error
	}{
		"their file":      {chown(config), Ref{ID: hbbr}, ErrUntrusted},
		"their directory": {chown("/docker/containers"), Ref{ID: hbbr}, ErrUntrusted},
		"their bundle":    {chown("/k8s.io/" + nobody), Ref{ID: nobody}, ErrUntrusted},
		"their storage":   {chown("/storage/overlay-containers/containers.json"), Ref{ID: podHbbr}, ErrUntrusted},
		"their logs":      {chown("/pods"), Ref{ID: hostnet, PodUID: podUID}, ErrUntrusted},
		"for all": {func(t testing.TB, dir string) {
			t.Helper()
			must(t, "chmod", os.Chmod(dir+config, 0o666))
		}, Ref{ID: hbbr}, ErrUntrusted},
		"their link": {func(t testing.TB, dir string) {
			t.Helper()
			must(t, "rename", os.Rename(dir+config, dir+"/real"))
			must(t, "link", os.Symlink(dir+"/real", dir+config))
			chown(config)(t, dir)
		}, Ref{ID: hbbr}, ErrUntrusted},
		"a pipe": {func(t testing.TB, dir string) {
			t.Helper()
			must(t, "remove", os.Remove(dir+config))
			must(t, "pipe", unix.Mkfifo(dir+config, 0o600))
		}, Ref{ID: hbbr}, ErrUnreadable},
		"huge": {func(t testing.TB, dir string) {
			t.Helper()
			must(t, "truncate", os.Truncate(dir+config, fileLimit+1))
		}, Ref{ID: hbbr}, ErrUnreadable},
		"cut off": {func(t testing.TB, dir string) {
			t.Helper()
			must(t, "truncate", os.Truncate(dir+config, 1000))
		}, Ref{ID: hbbr}, ErrUnreadable},
		"another one's": {func(t testing.TB, dir string) {
			t.Helper()
			put(t, dir+config, bytes.ReplaceAll(recorded(t, "docker-20.10.24-config.v2.json"), []byte(hbbr), []byte(nobody)))
		}, Ref{ID: hbbr}, ErrUnreadable},
		"a storage cut off": {func(t testing.TB, dir string) {
			t.Helper()
			must(t, "truncate", os.Truncate(dir+"/storage/overlay-containers/containers.json", 100))
		}, Ref{ID: podHbbr}, ErrUnreadable},
	} {
		t.Run(name, func(t *testing.T) {
			dir, p := hostTree(t)
			test.change(t, dir)
			n, _ := asked(p)
			if c, err := look(t, n, test.ref); !errors.Is(err, test.want) {
				t.Errorf("%+v, %v; want %v", c, err, test.want)
			}
		})
	}
}

// Podman is asked only about containers that its storage has or may have, because a
// connection can start it.
func TestPodmanIsAskedWhereItKnows(t *testing.T) {
	_, p := hostTree(t)
	var asks atomic.Int64
	serve := recording(t, map[string]string{"/containers/json": "podman-4.3.1-list.json", "/containers/" + podHbbr + "/json": "podman-4.3.1-inspect.json"})
	p.PodmanSockets = []string{engine(t, func(w http.ResponseWriter, r *http.Request) { asks.Add(1); serve(w, r) })}
	n, _ := asked(p)
	if _, err := look(t, n, Ref{ID: hostnet}); !errors.Is(err, ErrNoSuch) || asks.Load() != 0 {
		t.Errorf("%v, asked %d times", err, asks.Load())
	}
	if c, err := look(t, n, Ref{ID: podHbbr}); err != nil || c.ComposeService != "relay" || !c.Has(PartPorts) || asks.Load() != 2 {
		t.Errorf("%+v, %v, asked %d times", c, err, asks.Load())
	}
	p.Storages = nil // no storage can tell
	n, _ = asked(p)
	asks.Store(0)
	if _, err := look(t, n, Ref{ID: hostnet}); !errors.Is(err, ErrNoSuch) || asks.Load() != 2 {
		t.Errorf("%v, asked %d times", err, asks.Load())
	}
}

// A disk that hangs costs one goroutine, and nobody waits for it twice.
func TestHangingDisk(t *testing.T) {
	var l diskLane
	back := make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if l.run(ctx, func() { <-back }) {
		t.Error("it is back")
	}
	for range 3 {
		if l.run(t.Context(), func() { t.Error("a second one began") }) {
			t.Error("it is back")
		}
	}
	hanging := l.hanging
	close(back)
	<-hanging
	ran := false
	if !l.run(t.Context(), func() { ran = true }) || !ran {
		t.Error("it does not go on")
	}
	if l.run(ctx, func() { t.Error("it began after the end") }) || l.hanging != nil {
		t.Error("after the end")
	}
}
