package collectors

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrGone: the socket or process no longer exists.
	ErrGone = errors.New("gone")
	// ErrNotPermitted: the kernel does not let this process do it (EPERM, EACCES).
	ErrNotPermitted = errors.New("not permitted")
	// ErrNotSupported: this kernel cannot do it (EOPNOTSUPP).
	ErrNotSupported = errors.New("not supported by this kernel")
)

// Collector yields the sockets of one network namespace.
type Collector interface {
	// Collect streams the answer to q. It reuses the record: callers that keep one must
	// copy it before they go on. An error ends the stream; what came before it is true
	// but incomplete. Callers may stop reading at any time. Two calls share nothing.
	Collect(ctx context.Context, q Query) iter.Seq2[*Socket, error]
}

// Plugin is a source of records that users choose by name.
type Plugin struct {
	Name    string
	Summary string // one line
	Doc     string // a paragraph: what it sees and what it cannot see
	Needs   string // privileges and kernel options
	// Actionable reports whether its records carry cookies: without one no action is
	// possible.
	Actionable bool
	// New returns a collector for a namespace, given as an open nsfs or pid descriptor; a
	// negative one means the caller's own. It does no I/O.
	New func(netns int) Collector
}

// Registry holds the collectors that the program was built with.
type Registry struct{ plugins []Plugin }

// NewRegistry refuses plugins without a name and two plugins of the same name.
func NewRegistry(plugins ...Plugin) (*Registry, error) {
	for i, p := range plugins {
		if p.Name == "" || p.New == nil {
			return nil, fmt.Errorf("collector %d: no name or no New", i)
		}
		if slices.ContainsFunc(plugins[:i], func(q Plugin) bool { return q.Name == p.Name }) {
			return nil, fmt.Errorf("collector %q: registered twice", p.Name)
		}
	}
	return &Registry{plugins: slices.Clone(plugins)}, nil
}

// All returns the plugins in the order of registration.
func (r *Registry) All() []Plugin { return slices.Clone(r.plugins) }

// Get returns the plugin of that name; the error lists the known names.
func (r *Registry) Get(name string) (Plugin, error) {
	var names []string
	for _, p := range r.plugins {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Plugin{}, fmt.Errorf("unknown collector %q (known: %s)", name, strings.Join(names, ", "))
}
