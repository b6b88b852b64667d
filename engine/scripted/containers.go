package scripted

import (
	"context"
	"maps"
	"net/netip"
	"slices"

	"sockwarden/engine/world"
)

// containers answers from the world's Containers.
type containers struct{ w *World }

func (c containers) Lookup(_ context.Context, groups []string) map[string]world.Container {
	c.w.Asked = append(c.w.Asked, slices.Clone(groups))
	found := maps.Clone(c.w.Containers)
	maps.DeleteFunc(found, func(group string, _ world.Container) bool { return !slices.Contains(groups, group) })
	return found
}

// At names what Behind of the world has.
func (c containers) At(_ context.Context, ends []netip.AddrPort) (map[netip.AddrPort]string, error) {
	found := maps.Clone(c.w.Behind)
	maps.DeleteFunc(found, func(end netip.AddrPort, _ string) bool { return !slices.Contains(ends, end) })
	return found, nil
}
