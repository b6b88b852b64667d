package collectors

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
)

// The errors that callers tell apart with errors.Is.
var (
	// ErrGone: the socket or process is not there any more.
	ErrGone = errors.New("gone")
	// ErrNotPermitted: the kernel refuses this to this process (EPERM, EACCES).
	ErrNotPermitted = errors.New("not permitted")
	// ErrNotSupported: this kernel cannot do it (EOPNOTSUPP).
	ErrNotSupported = errors.New("not supported by this kernel")
)

// Collector yields the sockets of one network namespace.
type Collector interface {
	// Collect streams the answer to q. The record is reused: whoever keeps it
	// copies it before going on. An error ends the stream; what came before it
	// is true but incomplete. The stream may be abandoned at any time. Nothing
	// is shared between two calls.
	Collect(ctx context.Context, q Query) iter.Seq2[*Socket, error]
}

// Plugin is a source of records that can be chosen by name.
type Plugin struct {
	Name    string
	Summary string // one line
	Doc     string // a paragraph: what it sees and what it cannot see
	Needs   string // privileges and kernel options
	// Actionable reports whether its records carry cookies, so that they can be acted on.
	Actionable bool
	// New returns a collector for the namespace that the open nsfs or pid
	// descriptor stands for; a negative one is the namespace of the caller. It
	// does no I/O.
	New func(netns int) Collector
}

// Registry holds the collectors that the program was built with.
type Registry struct{ plugins []Plugin }

// NewRegistry refuses plugins without a name and two of the same name.
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

// Get returns the plugin with that name; the error lists the known ones.
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
