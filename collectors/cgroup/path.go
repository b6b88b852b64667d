package cgroup

import (
	"iter"
	"strings"
)

// Path is the path of a control group, from the root of the reader's cgroup namespace;
// outside of that it begins with "/..". "" means none.
type Path string

// line is one line of /proc/PID/cgroup (cgroups(7)): "ID:CONTROLLERS:PATH".
type line struct {
	id, controllers string
	path            Path
}

// unified reports whether the line is about the version 2 hierarchy.
func (l *line) unified() bool { return l.id == "0" && l.controllers == "" }

// lines splits the text of /proc/PID/cgroup and skips lines that do not parse.
func lines(text []byte) iter.Seq[line] {
	return func(yield func(line) bool) {
		for s := range strings.Lines(string(text)) {
			parts := strings.SplitN(strings.TrimSuffix(s, "\n"), ":", 3)
			if len(parts) != 3 {
				continue
			}
			l := line{id: parts[0], controllers: parts[1], path: Path(parts[2])}
			if l.unified() { // removed, as for an ended process (proc_cgroup_show in kernel/cgroup/cgroup.c)
				l.path = Path(strings.TrimSuffix(string(l.path), " (deleted)"))
			}
			if !yield(l) {
				return
			}
		}
	}
}

// Of returns the control group of a process from the text of /proc/PID/cgroup. On hosts
// with several hierarchies it chooses the one that says most: the first that names a
// container, otherwise the first that is not the root. The unified hierarchy comes before
// systemd's own, and that before those of controllers. (On hybrid hosts, container
// engines move processes only in the v1 hierarchies and leave them in the engine's own
// unit in the unified one.)
func Of(text []byte) Path {
	var ranks [3][]Path
	for l := range lines(text) {
		rank := 2
		switch {
		case l.unified():
			rank = 0
		case l.controllers == "name=systemd":
			rank = 1
		}
		ranks[rank] = append(ranks[rank], l.path)
	}
	var best Path
	for _, paths := range ranks {
		for _, p := range paths {
			if p.Container() != "" {
				return p
			}
			if len(best) < 2 && p != "" { // nothing yet, or the root
				best = p
			}
		}
	}
	return best
}

// Below reports whether the text of /proc/PID/cgroup shows a process in a control group
// or below it, in any hierarchy: which one systemd uses differs.
func Below(text []byte, root Path) bool {
	for l := range lines(text) {
		if strings.HasPrefix(string(l.path)+"/", string(root)+"/") {
			return true
		}
	}
	return false
}
