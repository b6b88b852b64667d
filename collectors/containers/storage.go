package containers

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
)

// storedEntry is the part that we read of an entry in containers.json (container in
// containers/storage/containers.go), with what podman and CRI-O keep in it.
type storedEntry struct {
	ID       string `json:"id"`
	Names    []string
	Metadata string
}

// storages reads the containers of podman and CRI-O. The error is from storages that
// could not be read, ErrNoSuch if all could.
func (d *disk) storages() (map[string]Container, error) {
	all := map[string]Container{}
	reason := ErrNoEngine
	for _, root := range d.places.Storages {
		// The second file is for --rm, since containers/storage 1.41.
		for _, name := range []string{"containers.json", "volatile-containers.json"} {
			path := filepath.Join(root, "overlay-containers", name)
			b, err := d.read(path)
			var found []Container
			if err == nil {
				found, err = parseStorage(b)
			}
			if err == nil {
				err = ErrNoSuch
			}
			reason = worse(reason, at(path, err))
			for _, c := range found {
				c.Source = path
				all[c.ID] = c
			}
		}
	}
	return all, reason
}

// stored finds a container among those of podman and CRI-O.
func (d *disk) stored(ref Ref, all map[string]Container) (Container, error) {
	c, ok := all[ref.ID]
	if !ok {
		return Container{}, ErrNoEngine // storages has said why
	}
	if c.Engine == CRI {
		if err := samePod(ref, c.podUID); err != nil {
			return Container{}, at(c.Source, err)
		}
	}
	dir := filepath.Join(filepath.Dir(c.Source), ref.ID, "userdata")
	// Believe none of the annotations: CRI-O writes those of the pod after its own.
	var in bundled
	if b, err := d.read(filepath.Join(dir, "config.json")); err == nil && json.Unmarshal(b, &in) == nil {
		c.namespace(&in)
	}
	for _, run := range d.places.StorageRuns {
		if pid := d.initPID(filepath.Join(run, "overlay-containers", ref.ID, "userdata", "pidfile")); pid > 0 {
			c.InitPID, c.Known = pid, c.Known|PartInit
			break
		}
	}
	return c, nil
}

// parseStorage reads containers.json. Podman keeps labels and ports in its own database.
func parseStorage(b []byte) ([]Container, error) {
	var entries []storedEntry
	if err := json.Unmarshal(b, &entries); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	all := make([]Container, 0, len(entries))
	for _, e := range entries {
		c := Container{ID: e.ID, Engine: Podman}
		for _, name := range e.Names {
			if inner, pod, uid, ok := kubeName(name); ok && isID(c.ID) {
				c.Engine, c.Name, c.Pod, c.podUID = CRI, inner, pod, uid
				c.Known = PartName | PartPod
				break
			}
		}
		if c.Engine == Podman && (len(e.Names) == 0 || strings.HasPrefix(e.Names[0], "k8s_") || c.call(e.Names[0]) != nil) {
			continue
		}
		var made struct {
			Image string `json:"image-name"`
		}
		if json.Unmarshal([]byte(e.Metadata), &made) == nil && text(made.Image) != "" {
			c.Image, c.Known = made.Image, c.Known|PartImage
		}
		all = append(all, c)
	}
	return all, nil
}
