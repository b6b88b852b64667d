package containers

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Places says where to look for engines. A place that does not exist costs one look each
// time.
type Places struct {
	// DockerSockets and PodmanSockets are the sockets of the engines' APIs. We ask podman
	// only about containers that its storage has, or may have: where systemd listens for
	// it, connecting starts podman.
	DockerSockets, PodmanSockets []string
	// DataRoots are where dockerd keeps containers; DaemonFiles are its configuration
	// files, which can name another root.
	DataRoots, DaemonFiles []string
	// Bundles are the task directories of containerd's CRI.
	Bundles []string
	// Storages are where podman and CRI-O keep containers, StorageRuns where they keep
	// the state of running ones.
	Storages, StorageRuns []string
	// PodLogs is the kubelet's log directory.
	PodLogs string
}

// Host returns the places of the host's engines and, unless root asks, of the user's own.
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

// AddDockerHost puts the socket of DOCKER_HOST first. The error says that it is not a
// Unix socket: an engine on another machine runs no process of this one.
func (p *Places) AddDockerHost(value string) error {
	path, ok := strings.CutPrefix(value, "unix://")
	if !ok || !filepath.IsAbs(path) {
		return fmt.Errorf("%q is not unix:///PATH: only an engine of this host can have its containers", value)
	}
	p.DockerSockets = slices.Insert(slices.Clone(p.DockerSockets), 0, path)
	return nil
}
