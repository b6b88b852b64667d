package doctor

import (
	"fmt"
	"strings"
	"testing"

	"sockwarden/collectors/containers"
)

// Which engines could be asked, and what a rule that asks for names lacks.
func TestEngines(t *testing.T) {
	at := func(path string, err error) containers.Source {
		if err != nil {
			err = fmt.Errorf("%s: %w", path, err)
		}
		return containers.Source{Path: path, Engine: containers.Docker, Err: err}
	}
	asks := program(t, `
  - {name: asks, when: 'container == "hbbs"', unless: 'image == "x"', then: [log], group: container, having: count > 1}
`)
	for _, c := range []struct {
		sources []containers.Source
		asks    bool
		level   Level
		detail  string
	}{
		{[]containers.Source{at("/run/docker.sock", nil), at("/run/podman.sock", containers.ErrNoEngine)}, true, OK, "docker: /run/docker.sock answers"},
		{[]containers.Source{at("/run/docker.sock", containers.ErrNoEngine)}, false, OK, "no engine listens: "},
		{[]containers.Source{at("/run/docker.sock", containers.ErrNoEngine)}, true, Warn, "no engine listens: "},
		{nil, true, Warn, "no engine listens: "},
		{[]containers.Source{at("/run/docker.sock", containers.ErrNotPermitted)}, false, Warn, "/run/docker.sock: asking the container engine takes root, or its group"},
		{[]containers.Source{at("/run/docker.sock", containers.ErrSilent)}, false, Warn, "/run/docker.sock: the container engine does not answer"},
		{[]containers.Source{at("/a", containers.ErrUntrusted), at("/b", nil)}, false, Warn, "docker: /b answers; /a: what it says is not trusted"},
	} {
		p := asks
		if !c.asks {
			p = nil
		}
		got := engines(c.sources, p)
		if got.Level != c.level || !strings.HasPrefix(got.Detail, c.detail) || (got.Cure == "") != (c.level == OK) {
			t.Errorf("%v: %+v", c.sources, got)
		}
	}
	lacks := "names of containers may be unknown to its condition; its exception may spare all sockets of containers; " +
		"sockets of containers may be in no group by container"
	checks := byName(t, Run(t.Context(), plan(t, asks)))
	if got := checks["rule asks"]; got.Level != Warn || got.Detail != lacks {
		t.Errorf("%+v", got)
	}
	if got := checks["containers"]; got.Level != Warn {
		t.Errorf("%+v", got)
	}
}
