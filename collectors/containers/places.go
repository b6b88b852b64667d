package containers

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Places is where engines are looked for. A place that does not exist costs one
// look each time.
type Places struct {
	// DockerSockets and PodmanSockets are those of the engines' APIs. Podman's is
	// asked only about containers that its storage has, or may have: to connect to it
	// starts podman where systemd listens.
	DockerSockets, PodmanSockets []string
	// DataRoots are where dockerd keeps containers, and DaemonFiles its
	// configurations, which can name another root.
	DataRoots, DaemonFiles []string
	// Bundles are the directories of the CRI's tasks of containerd.
	Bundles []string
	// Storages are those of podman and CRI-O, and StorageRuns what they keep of
	// containers that run.
	Storages, StorageRuns []string
	// PodLogs is the kubelet's directory of logs.
	PodLogs string
}

// Host returns the places of a host's own engines and, but for root, those of the
// user's own ones.
func Host() Places {
	const tasks = "containerd/io.containerd.runtime.v2.task/k8s.io"
	p := Places{
		DockerSockets: []string{"/run/docker.sock", "/var/run/docker.sock"},
		PodmanSockets: []string{"/run/podman/podman.sock"},
		DataRoots:     []string{"/var/lib/docker", "/var/snap/docker/common/var-lib-docker"},
		DaemonFiles:   []string{"/etc/docker/daemon.json"},
		Bundles:       []string{"/run/" + tasks, "/run/k3s/" + tasks, "/var/snap/microk8s/common/run/" + tasks},
		Storages:      []string{"/var/lib/containers/storage"},
		StorageRuns:   []string{"/run/containers/storage"},
		PodLogs:       "/var/log/pods",
	}
	if uid := os.Geteuid(); uid != 0 {
		own := "/run/user/" + strconv.Itoa(uid)
		p.DockerSockets = append(p.DockerSockets, own+"/docker.sock")
		p.PodmanSockets = append(p.PodmanSockets, own+"/podman/podman.sock")
		p.StorageRuns = append(p.StorageRuns, own+"/containers")
		if home, err := os.UserHomeDir(); err == nil {
			p.DataRoots = append(p.DataRoots, filepath.Join(home, ".local/share/docker"))
			p.Storages = append(p.Storages, filepath.Join(home, ".local/share/containers/storage"))
		}
	}
	return p
}

// AddDockerHost makes the socket of DOCKER_HOST the first to be asked. An error says
// that it is no Unix socket: an engine on another machine has no process of this one.
func (p *Places) AddDockerHost(value string) error {
	path, ok := strings.CutPrefix(value, "unix://")
	if !ok || !filepath.IsAbs(path) {
		return fmt.Errorf("%q is no unix:///PATH: only an engine of this host can have its containers", value)
	}
	p.DockerSockets = slices.Insert(slices.Clone(p.DockerSockets), 0, path)
	return nil
}
