package containers

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// bundled is the part that we read of config.json in the bundle of a container (the OCI
// runtime specification).
type bundled struct {
	Annotations map[string]string
	Linux       *struct {
		Namespaces []struct{ Type, Path string }
	}
}

// bundle finds a container of containerd's CRI. containerd writes its annotations
// (internal/cri/annotations) over those that a pod brings along.
func (d *disk) bundle(ref Ref) (Container, error) {
	reason := ErrNoEngine
	for _, tasks := range d.places.Bundles {
		dir := filepath.Join(tasks, ref.ID)
		b, err := d.read(filepath.Join(dir, "config.json"))
		if errors.Is(err, ErrNoEngine) {
			err = there(tasks)
		}
		if err != nil {
			reason = worse(reason, err)
			continue
		}
		c, err := parseBundle(b, ref)
		if err != nil {
			return Container{}, at(dir, err)
		}
		c.Source = dir
		if pid := d.initPID(filepath.Join(dir, "init.pid")); pid > 0 {
			c.InitPID, c.Known = pid, c.Known|PartInit
		}
		return c, nil
	}
	return Container{}, reason
}

// parseBundle reads the config.json that containerd's CRI writes. It has neither labels
// nor ports.
func parseBundle(b []byte, ref Ref) (Container, error) {
	const prefix = "io.kubernetes.cri."
	var in bundled
	if err := json.Unmarshal(b, &in); err != nil {
		return Container{}, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	c := Container{ID: ref.ID, Engine: CRI}
	c.Pod = podName(in.Annotations[prefix+"sandbox-namespace"], in.Annotations[prefix+"sandbox-name"])
	c.Name = in.Annotations[prefix+"container-name"]
	if in.Annotations[prefix+"container-type"] == "sandbox" {
		c.Name = sandboxName
	}
	if c.Pod == "" || !isName(c.Name) {
		return Container{}, fmt.Errorf("%w: no name in the annotations", ErrUnreadable)
	}
	if err := samePod(ref, in.Annotations[prefix+"sandbox-uid"]); err != nil {
		return Container{}, err
	}
	c.Known |= PartName | PartPod
	if c.Image = text(in.Annotations[prefix+"image-name"]); c.Image != "" {
		c.Known |= PartImage
	}
	c.namespace(&in)
	return c, nil
}

// sandboxName is the name of the container that only keeps a pod's namespaces, as the
// kubelet has always called it.
const sandboxName = "POD"

// samePod refuses an answer about another pod than that of the control group. If one of
// them does not name a pod (containerd before 1.5 does not), that is no contradiction.
func samePod(ref Ref, uid string) error {
	if uid != "" && ref.PodUID != "" && uid != ref.PodUID {
		return fmt.Errorf("%w: it is about the pod %.70q, and the control group is of %s", ErrUnreadable, uid, ref.PodUID)
	}
	return nil
}

// namespace reads which network namespace a container started in.
func (c *Container) namespace(in *bundled) {
	if in.Linux == nil {
		return
	}
	i := slices.IndexFunc(in.Linux.Namespaces, func(n struct{ Type, Path string }) bool { return n.Type == "network" })
	if i < 0 {
		c.NetworkMode, c.Known = "host", c.Known|PartMode|PartSandbox
		return
	}
	path := text(in.Linux.Namespaces[i].Path)
	if strings.HasPrefix(path, "/run/") || strings.HasPrefix(path, "/var/run/") { // not /proc/PID/ns/net of a process that may be gone
		c.SandboxKey, c.Known = path, c.Known|PartSandbox
	}
}
