package cgroup

import (
	"slices"
	"strings"
)

// Unit returns the systemd unit (a service or a scope) of the innermost part that is one,
// in the form that systemctl takes: `\x2d` and the like are part of a unit's name. ""
// means none.
func (p Path) Unit() string {
	for _, part := range slices.Backward(strings.Split(string(p), "/")) {
		if strings.HasSuffix(part, ".service") || strings.HasSuffix(part, ".scope") {
			return unescape(part)
		}
	}
	return ""
}

// unescape removes the underscore that systemd puts before unit names that are also file
// names of the kernel, such as cpu.service (cg_unescape in src/basic/cgroup-util.c).
func unescape(part string) string { return strings.TrimPrefix(part, "_") }

// Up returns the control group of the named unit that the path is in or below, "" if
// there is none; the innermost of several.
func (p Path) Up(unit string) Path {
	if unit == "" {
		return ""
	}
	for end := len(p); end > 0; {
		begin := strings.LastIndexByte(string(p[:end]), '/')
		if begin < 0 {
			return ""
		}
		if unescape(string(p[begin+1:end])) == unit {
			return p[:end]
		}
		end = begin
	}
	return ""
}

// OfSystem reports whether a unit belongs to the system's own manager: above it the path
// has only slices. A user's manager, or a container, can have a unit of the same name.
func (p Path) OfSystem(unit string) bool {
	for part := range strings.SplitSeq(string(p), "/") {
		switch {
		case part != "" && unescape(part) == unit:
			return true
		case part != "" && !strings.HasSuffix(part, ".slice"):
			return false
		}
	}
	return false
}
