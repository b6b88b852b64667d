package cgroup

import (
	"iter"
	"strings"
)

// Path is the path of a control group, from the root of the reader's cgroup
// namespace: what is outside of it begins with "/..". "" is none.
type Path string

// line is one of /proc/PID/cgroup (cgroups(7)): "ID:CONTROLLERS:PATH".
type line struct {
	id, controllers string
	path            Path
}

// unified reports whether it is of the hierarchy of version 2.
func (l *line) unified() bool { return l.id == "0" && l.controllers == "" }

// lines cuts the text of /proc/PID/cgroup, and leaves out what is none.
func lines(text []byte) iter.Seq[line] {
	return func(yield func(line) bool) {
		for s := range strings.Lines(string(text)) {
			parts := strings.SplitN(strings.TrimSuffix(s, "\n"), ":", 3)
			if len(parts) != 3 {
				continue
			}
			l := line{id: parts[0], controllers: parts[1], path: Path(parts[2])}
			if l.unified() { // removed, as an ended process leaves it (proc_cgroup_show in kernel/cgroup/cgroup.c)
				l.path = Path(strings.TrimSuffix(string(l.path), " (deleted)"))
			}
			if !yield(l) {
				return
			}
		}
	}
}

// Of returns the control group of a process from the text of /proc/PID/cgroup. On
// hosts with several hierarchies it is the one that says most: the first that
// names a container (on hybrid hosts container engines move processes only in the
// v1 ones, and leave them in the engine's own unit in the unified one), else the
// first that is not the root, with the unified hierarchy before systemd's own and
// that before those of controllers.
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

// Below reports whether the text of /proc/PID/cgroup shows a process in a control
// group or below it, in any hierarchy: which of them systemd goes by differs.
func Below(text []byte, root Path) bool {
	for l := range lines(text) {
		if strings.HasPrefix(string(l.path)+"/", string(root)+"/") {
			return true
		}
	}
	return false
}
