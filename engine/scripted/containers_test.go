package scripted_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/news"
	"sockwarden/engine/world"
)

// inside is a process in a container, given by one letter of its id.
func inside(pid int, letter string) collectors.Owner {
	id := strings.Repeat(letter, 64)
	return collectors.Owner{PID: pid, Name: "app", Cgroup: "/docker/" + id, Container: id}
}

// named is what an engine says about a container.
func named(name, service string) world.Container {
	return world.Container{
		ContainerNames: collectors.ContainerNames{Engine: "docker", ContainerName: name, ComposeService: service, Image: name + ":1"},
		Known:          collectors.ContainerFields(),
	}
}

// containersStage has a leak in each of two containers, and one on the host.
func containersStage(t *testing.T, o engine.Options) *stage {
	t.Helper()
	s := newStage(t, o)
	for i, o := range []collectors.Owner{inside(7, "a"), inside(8, "b"), app(9)} {
		s.Add(collectors.Socket{State: collectors.CloseWait, RemotePort: uint16(1000 + i)}, time.Hour, o)
	}
	s.Containers = map[string]world.Container{inside(7, "a").Cgroup: named("hbbs", "relay"), inside(8, "b").Cgroup: named("hbbr", "")}
	return s
}

// Container names decide rules, and are asked for in one question.
func TestContainerNames(t *testing.T) {
	for when, want := range map[string]string{
		`container == "hbbs"`:        "1 act destroy gone",
		`container != ""`:            "2 act destroy gone",
		`container == ""`:            "1 act destroy gone",
		`compose_service == "relay"`: "1 act destroy gone",
		`image startsWith "hbb"`:     "2 act destroy gone",
		`pod == ""`:                  "3 act destroy gone",
	} {
		s := containersStage(t, live)
		s.expect(s.rules(hung+" && "+when, "destroy"), want)
		both := []string{inside(7, "a").Cgroup, inside(8, "b").Cgroup}
		if len(s.Asked) == 0 || !slices.Equal(s.Asked[0], both) {
			t.Errorf("%s: asked for %v", when, s.Asked)
		}
	}
}

// Rules that read no name ask nobody.
func TestContainerNamesUnread(t *testing.T) {
	s := containersStage(t, live)
	s.expect(s.rules(hung+` && container_id != ""`, "destroy"), "2 act destroy gone")
	if len(s.Asked) > 0 {
		t.Errorf("asked for %v", s.Asked)
	}
	shown := containersStage(t, engine.Options{Shows: collectors.Fields(collectors.FieldContainer)})
	r := shown.run(shown.rules(hung, "destroy"))
	if len(shown.Asked) == 0 || len(r.Findings) != 3 || r.Findings[0].Facts.Owners[0].ContainerName != "hbbs" {
		t.Errorf("asked for %v: %+v", shown.Asked, r.Findings)
	}
}

// An unknown name matches no rule and spares where it is an exception; the report says
// why.
func TestContainerNamesUnknown(t *testing.T) {
	silent := world.Container{Err: errors.New("the engine does not answer")}
	for _, c := range []struct{ when, unless, want string }{
		{`container == "hbbs"`, "", ""},
		{`container != "hbbr"`, "", "1 act destroy would"}, // the leak of the host
		{`pid > 0`, `container == "hbbr"`, "2 unless, 1 act destroy would"},
	} {
		s := containersStage(t, engine.Options{})
		s.Containers[inside(7, "a").Cgroup], s.Containers[inside(8, "b").Cgroup] = silent, silent
		more := []string(nil)
		if c.unless != "" {
			more = append(more, "unless: '"+c.unless+"'")
		}
		r := s.run(s.rules(hung+" && "+c.when, "destroy", more...))
		if len(r.Errors) != 1 || r.Errors[0].Error() != "names of containers are not known (2 of 2): the engine does not answer" {
			t.Errorf("%v", r.Errors)
		}
		if got := summed(r); got != c.want {
			t.Errorf("%s, unless %s: %s", c.when, c.unless, got)
		}
	}
}

// Where a name is only shown, a missing engine is not worth reporting.
func TestContainerNamesAbsent(t *testing.T) {
	for _, absent := range []bool{true, false} {
		s := containersStage(t, engine.Options{Shows: collectors.Fields(collectors.FieldContainer)})
		nobody := world.Container{Err: errors.New("no engine"), Absent: absent}
		s.Containers[inside(7, "a").Cgroup], s.Containers[inside(8, "b").Cgroup] = nobody, nobody
		if r := s.run(s.rules(hung, "destroy")); (len(r.Errors) == 0) != absent {
			t.Errorf("absent %t: %v", absent, r.Errors)
		}
		if r := s.run(s.rules(hung+` && container != "x"`, "destroy")); len(r.Errors) != 1 {
			t.Errorf("a rule reads it: %v", r.Errors)
		}
	}
}

// Groups by container, by name and by id.
func TestContainerGroups(t *testing.T) {
	for _, key := range []string{"container", "container_id"} {
		s := containersStage(t, live)
		s.Add(collectors.Socket{State: collectors.CloseWait}, time.Hour, inside(7, "a"))
		s.expect(s.rules(hung, "destroy", "group: "+key, "having: count > 1"), "2 act destroy gone")
	}
}

// Log lines and messages name the container.
func TestContainerToldOf(t *testing.T) {
	s := containersStage(t, live)
	s.Add(collectors.Socket{State: collectors.CloseWait}, time.Hour, inside(7, "a"))
	p := s.rules(hung+` && container != ""`, "destroy")
	r := s.run(p)
	s.Tell(t.Context(), p, r)
	for name, words := range map[string][]string{"several": {"count=2", "container=docker:hbbs"}, "one": {"msg=acted", "peer=", "container=docker:hbbr"}} {
		if lines := s.log.lines(words...); len(lines) != 1 {
			t.Errorf("%s: %q of %s", name, lines, s.log.lines())
		}
	}
	if line := news.Line(r.Findings[0], "gone"); !strings.Contains(line, " app[7] in docker:hbbs ") {
		t.Error(line)
	}
}
