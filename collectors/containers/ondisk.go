package containers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/trust"
)

// fileLimit bounds files of engines, in bytes. The file of one container has tens of
// thousands.
const fileLimit = 16 << 20

// disk reads the engines' files. Reads can hang, as disks can.
type disk struct {
	places  Places
	checker trust.Checker
	// roots are Docker's data roots, known once daemon.json has been read.
	roots []string
}

// read returns the content of a file that only root or the running user can have written.
// Its error carries a reason.
func (d *disk) read(path string) ([]byte, error) {
	f, err := d.checker.Open(path)
	switch {
	case errors.Is(err, trust.ErrNotRegular):
		return nil, fmt.Errorf("%s: %w: it is not a regular file", path, ErrUnreadable)
	case err != nil:
		return nil, at(path, err)
	}
	defer f.Close()
	if err := f.Trusted(); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, ErrUntrusted, err)
	}
	b, err := f.ReadAll(fileLimit + 1)
	switch {
	case err != nil:
		return nil, at(path, err)
	case len(b) > fileLimit:
		return nil, fmt.Errorf("%s: %w: %w", path, ErrUnreadable, errTooLong)
	}
	return b, nil
}

// there returns nil if the directory of an engine exists and we may enter it: a file
// missing from it then means that the engine has no such container.
func there(dir string) error {
	if err := unix.Access(dir, unix.X_OK); err != nil {
		return at(dir, &fs.PathError{Op: "access", Path: dir, Err: err})
	}
	return fmt.Errorf("%s: %w", dir, ErrNoSuch)
}

// find looks for a container in the files of all engines. The error says why it found
// none.
func (d *disk) find(ref Ref, stored map[string]Container) (Container, error) {
	var reason error
	for _, look := range []func(Ref) (Container, error){
		func(ref Ref) (Container, error) { return d.docker(ref.ID) },
		func(ref Ref) (Container, error) { return d.bundle(ref) },
		func(ref Ref) (Container, error) { return d.stored(ref, stored) },
		d.logs,
	} {
		c, err := look(ref)
		if err == nil {
			return c, nil
		}
		reason = worse(reason, err)
	}
	return Container{}, reason
}

// docker reads what dockerd writes about a container (container.ToDisk in
// moby/container/container.go).
func (d *disk) docker(id string) (Container, error) {
	reason := ErrNoEngine
	for _, root := range d.dataRoots() {
		dir := filepath.Join(root, "containers", id)
		b, err := d.read(filepath.Join(dir, "config.v2.json"))
		if errors.Is(err, ErrNoEngine) {
			err = there(filepath.Dir(dir))
		}
		if err != nil {
			reason = worse(reason, err)
			continue
		}
		c, err := parseInspected(b, Docker)
		switch {
		case err != nil:
			return Container{}, at(dir, err)
		case c.ID != id:
			return Container{}, fmt.Errorf("%s: %w: it is about the container %s", dir, ErrUnreadable, c.ID)
		}
		c.Source = dir
		if b, err = d.read(filepath.Join(dir, "hostconfig.json")); err == nil {
			var host hostConfig
			if json.Unmarshal(b, &host) == nil {
				c.mode(host.NetworkMode)
			}
		}
		return c, nil
	}
	return Container{}, reason
}

// dataRoots returns the directories where dockerd keeps its data, including that in
// daemon.json.
func (d *disk) dataRoots() []string {
	if d.roots != nil {
		return d.roots
	}
	roots := slices.Clone(d.places.DataRoots)
	for _, file := range d.places.DaemonFiles {
		var said struct {
			DataRoot string `json:"data-root"`
		}
		if b, err := d.read(file); err == nil && json.Unmarshal(b, &said) == nil && filepath.IsAbs(said.DataRoot) && isText(said.DataRoot, unix.PathMax) {
			roots = slices.Insert(roots, 0, said.DataRoot)
		}
	}
	d.roots = append([]string{}, roots...)
	return d.roots
}

// logs reads the name of a pod from the kubelet's log directory, NAMESPACE_NAME_UID. It
// gives the pod where the container is unknown, and needs no permission.
func (d *disk) logs(ref Ref) (Container, error) {
	if ref.PodUID == "" || d.places.PodLogs == "" {
		return Container{}, ErrNoEngine
	}
	if err := d.checker.Dir(d.places.PodLogs); err != nil {
		return Container{}, distrusted(d.places.PodLogs, err)
	}
	entries, err := os.ReadDir(d.places.PodLogs)
	if err != nil {
		return Container{}, at(d.places.PodLogs, err)
	}
	for _, e := range entries {
		parts := strings.Split(e.Name(), "_")
		if len(parts) != 3 || parts[2] != ref.PodUID || !e.IsDir() {
			continue
		}
		if pod := podName(parts[0], parts[1]); pod != "" {
			return Container{ID: ref.ID, Source: filepath.Join(d.places.PodLogs, e.Name()), Known: PartPod, Pod: pod}, nil
		}
	}
	return Container{}, fmt.Errorf("%s: %w", d.places.PodLogs, ErrNoSuch)
}

// initPID reads the PID of a container's first process, 0 for none.
func (d *disk) initPID(path string) int {
	b, err := d.read(path)
	if err != nil {
		return 0
	}
	pid, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 31)
	if err != nil {
		return 0
	}
	return int(pid)
}
