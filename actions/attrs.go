package actions

import (
	"fmt"
	"log/slog"
	"net/netip"

	"sockwarden/collectors"
)

// Attrs describes a socket for a log line.
func Attrs(s *Sealed) []slog.Attr {
	k := &s.Socket
	attrs := []slog.Attr{
		slog.String("state", k.State.String()),
		slog.Int("port", int(k.LocalPort)),
		slog.String("peer", netip.AddrPortFrom(k.Remote.Netip(), k.RemotePort).String()),
	}
	if len(s.Facts.Owners) > 0 {
		o := &s.Facts.Owners[0]
		attrs = append(attrs, slog.String("process", o.Name), slog.Int("pid", o.PID))
		if unit := o.InService(); unit != "" {
			attrs = append(attrs, slog.String("unit", unit))
		}
		if len(s.Facts.Owners) > 1 {
			attrs = append(attrs, slog.String("holders", collectors.OwnerNames(s.Facts.Owners)))
		}
	} else if name := s.Facts.ListenerProcess(); name != "" {
		attrs = append(attrs, slog.String("listener_process", name))
	}
	if name := collectors.ContainerOf(s.Facts.Owners); name != "" {
		attrs = append(attrs, slog.String("container", name))
	}
	if name := collectors.Behind(s.Facts.Owners); name != "" {
		attrs = append(attrs, slog.String("leads_to", name))
	}
	if s.Namespace.Name != "host" {
		attrs = append(attrs, slog.String("netns", s.Namespace.Name))
	}
	if a := s.Facts.Age; a.Min > 0 {
		attrs = append(attrs, slog.String("age", fmt.Sprintf("%.1fs", a.Min)), slog.String("age_source", string(a.Source)))
	}
	return attrs
}
