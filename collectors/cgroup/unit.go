package cgroup

import (
	"slices"
	"strings"
)

// Unit returns the systemd unit of the innermost part that is one (a service or a
// scope), as systemctl takes it: `\x2d` and the like are part of a unit's name.
// "" is none.
func (p Path) Unit() string {
	for _, part := range slices.Backward(strings.Split(string(p), "/")) {
		if strings.HasSuffix(part, ".service") || strings.HasSuffix(part, ".scope") {
			return unescape(part)
		}
	}
	return ""
}

// unescape undoes the underscore that systemd sets before the names of units that
// are also those of files of the kernel, such as cpu.service (cg_unescape in
// src/basic/cgroup-util.c).
func unescape(part string) string { return strings.TrimPrefix(part, "_") }

// Up returns the control group of a unit that the path is in or below of, "" if it
// is in none of that name. Of several it is the innermost.
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

// OfSystem reports whether a unit is one of the system's own manager: above it in
// the path are only slices. A unit of the same name can also be in a user's
// manager, or in a container.
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
