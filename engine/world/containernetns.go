package world

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/cgroup"
	"sockwarden/collectors/containers"
	"sockwarden/collectors/netns"
)

// FindNamespaces returns the namespaces that a name means, for callers that only want to
// know whether there are any.
func FindNamespaces(ctx context.Context, name string) ([]Namespace, error) {
	return newKernelNamespaces(newEngines(), nil).Select(ctx, name)
}

// errHostNetwork says that a container has no namespace of its own.
var errHostNetwork = errors.New("it uses the host's: --netns host looks there, and --container selects its sockets")

// namespace returns the namespace of the running container with the missing name. It has
// the container's name, so rules about that name match.
func (e engines) namespace(ctx context.Context, missing *netns.MissingError) ([]Namespace, error) {
	all, err := e.names.Running(ctx)
	alike := slices.DeleteFunc(slices.Clone(all), func(c containers.Container) bool { return c.Name != missing.Name && !beginsID(c.ID, missing.Name) })
	switch {
	case len(alike) > 1:
		return nil, fmt.Errorf("%w, and %d containers have that name: name the namespace", missing, len(alike))
	case len(alike) == 0 && err != nil && !errors.Is(err, containers.ErrNoEngine):
		return nil, fmt.Errorf("%w (of containers: %w)", missing, err)
	case len(alike) == 0:
		return nil, missing
	}
	handles, err := netns.List()
	if err != nil {
		return nil, err
	}
	found, err := e.namespaceOf(ctx, alike[0].ID, handles)
	if err != nil {
		return nil, fmt.Errorf("network namespace of container %s: %w", missing.Name, err)
	}
	found.Name = alike[0].Name
	return []Namespace{found}, nil
}

// shownID is how many digits of a container's id engines show. Fewer could be a name of
// something else.
const shownID = 12

func beginsID(id, text string) bool { return len(text) >= shownID && strings.HasPrefix(id, text) }

// matching returns the namespaces of the running containers whose names match a pattern,
// but for that of the host.
func (e engines) matching(ctx context.Context, pattern string) (found []Namespace, err error) {
	all, err := e.names.Running(ctx)
	if errors.Is(err, containers.ErrNoEngine) {
		err = nil
	}
	if err != nil {
		err = fmt.Errorf("containers that match %q: %w", pattern, err)
	}
	all = slices.DeleteFunc(slices.Clone(all), func(c containers.Container) bool { return !netns.Matches(pattern, c.Name) })
	if len(all) == 0 {
		return nil, err
	}
	handles, listErr := netns.List()
	if listErr != nil {
		return nil, errors.Join(err, listErr)
	}
	for _, c := range all {
		ns, inspectErr := e.namespaceOf(ctx, c.ID, handles)
		switch {
		case inspectErr == nil:
			ns.Name = c.Name
			found = append(found, ns)
		case errors.Is(inspectErr, errHostNetwork), errors.Is(inspectErr, collectors.ErrGone), errors.Is(inspectErr, fs.ErrNotExist), errors.Is(inspectErr, containers.ErrNoSuch):
		default:
			err = errors.Join(err, fmt.Errorf("network namespace of container %s: %w", c.Name, inspectErr))
		}
	}
	return found, err
}

// namespaceOf returns the namespace of a running container.
func (e engines) namespaceOf(ctx context.Context, id string, handles []netns.Handle) (Namespace, error) {
	c, err := e.names.Inspect(ctx, id)
	if err != nil {
		return Namespace{}, err
	}
	var st unix.Stat_t
	file := fmt.Sprintf("/proc/%d/ns/net", c.InitPID)
	if err := unix.Stat(file, &st); err != nil {
		return Namespace{}, &os.PathError{Op: "stat", Path: file, Err: err}
	}
	// The engine may number processes differently, and this one may have ended.
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", c.InitPID))
	if err != nil || cgroup.Of(text).Container() != id {
		return Namespace{}, fmt.Errorf("process %d is not in it: %w", c.InitPID, collectors.ErrGone)
	}
	i := slices.IndexFunc(handles, func(h netns.Handle) bool { return h.Inode == st.Ino })
	switch {
	case i < 0:
		return Namespace{}, collectors.ErrGone
	case handles[i].Name == netns.HostName:
		return Namespace{}, errHostNetwork
	}
	return namespacesOf(handles[i : i+1])[0], nil
}
