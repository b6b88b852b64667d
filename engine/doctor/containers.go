package doctor

import (
	"errors"
	"fmt"
	"strings"

	"sockwarden/collectors"
	"sockwarden/collectors/containers"
	"sockwarden/rules"
)

const enginesName = "containers"

// engines says who was asked for the names of containers, and could be told to restart
// some, and whether they answer.
func engines(sources []containers.Source, p *rules.Program) Check {
	c := Check{Name: enginesName, Level: OK}
	var listen, refuse []string
	silent := false
	for _, s := range sources {
		switch {
		case s.Err == nil:
			listen = append(listen, fmt.Sprintf("%s: %s answers", s.Engine, s.Path))
		case !errors.Is(s.Err, containers.ErrNoEngine):
			refuse = append(refuse, s.Err.Error())
			silent = silent || errors.Is(s.Err, containers.ErrSilent)
		}
	}
	c.Detail = strings.Join(append(listen, refuse...), "; ")
	switch {
	case silent:
		c.Level, c.Cure = Warn, "see why it does not answer (journalctl -u docker): until then names of its containers come from files, and none is restarted"
	case len(refuse) > 0:
		c.Level, c.Cure = Warn, "run as root, or as a member of the group of the socket; nobody else may be able to write it or its directories"
	case len(listen) > 0:
	default:
		c.Detail = "no engine listens: names are known only as far as files of containerd, CRI-O, Podman or Docker say them, to root"
		if p != nil && p.Reads.Meets(collectors.EngineFields()) {
			c.Level, c.Cure = Warn, "run where the engine runs, or mount its socket there (/run/docker.sock)"
		}
	}
	return c
}

// withoutNames says what a rule cannot know if no engine answers.
func withoutNames(r *rules.Rule) (lacks []string) {
	names := collectors.EngineFields()
	if r.When.Reads.Meets(names) {
		lacks = append(lacks, "names of containers may be unknown to its condition")
	}
	if r.Unless != nil && r.Unless.Reads.Meets(names) {
		lacks = append(lacks, "its exception may spare all sockets of containers")
	}
	for _, k := range r.Group {
		if k == rules.ByContainer {
			lacks = append(lacks, "sockets of containers may be in no group by container")
		}
	}
	return lacks
}
