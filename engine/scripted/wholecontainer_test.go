package scripted_test

import (
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/scripted"
	"sockwarden/engine/world"
)

// restarted is a stage with an action on units and containers, named again.
func restarted(t *testing.T, o engine.Options) (*stage, *scripted.Script) {
	t.Helper()
	again := scripted.Coming("again", scripted.Outcome{Result: actions.Done})
	again.Scope = actions.ScopeUnit
	return newStage(t, o, again), again
}

// inContainer adds a socket of a process in a container, in which systemd also sees a
// unit.
func (s *stage) inContainer(state collectors.State, pid int, letter string) *scripted.Socket {
	o := inside(pid, letter)
	o.Unit = "docker-" + letter + ".scope"
	return s.Add(collectors.Socket{State: state}, time.Hour, o)
}

// A container is one target, however many of its processes and sockets match, and has its
// own cool-down.
func TestContainerOnce(t *testing.T) {
	s, again := restarted(t, live)
	for _, pid := range []int{7, 7, 8} {
		s.inContainer(collectors.CloseWait, pid, "a")
	}
	s.inContainer(collectors.CloseWait, 9, "b")
	p := s.rules(closeWait, "again", "limits: {cooldown: 1h}")
	s.expect(p, "4 act again done")
	if len(again.Applied) != 2 {
		t.Fatalf("%d applied", len(again.Applied))
	}
	if first := again.Applied[0]; first.Process == nil || first.Process.PID != 7 || len(first.Sockets) != 3 {
		t.Errorf("%+v", first)
	}
	s.Advance(time.Minute)
	s.inContainer(collectors.CloseWait, 10, "a") // a new process in it
	s.expect(p, "5 cooldown")
	s.Advance(time.Hour)
	s.restart(engine.Options{Live: true})
	s.expect(s.rules(closeWait, "again", "limits: {cooldown: 1h, per_cycle: 1}"), "4 act again done, 1 limited")
}

// A guarded process in a container spares the whole container, but not its neighbour.
func TestContainerWithProtected(t *testing.T) {
	s, again := restarted(t, engine.Options{})
	hung, other := s.inContainer(collectors.CloseWait, 7, "a"), s.inContainer(collectors.CloseWait, 9, "b")
	s.inContainer(collectors.Established, 8, "a").Owners[0].Comm = "sshd"
	r := s.run(s.rules(closeWait, "again"))
	s.expectOf(r, hung, engine.DecideGuarded, "container aaaaaaaaaaaa has also app[8]: protected process app")
	s.expectOf(r, other, engine.DecideAct, "", actions.Would)
	if len(again.Prepared) != 1 || again.Prepared[0].Process.PID != 9 {
		t.Errorf("%+v", again.Prepared)
	}
	s.Advance(time.Minute) // new processes in a container are seen
	s.inContainer(collectors.Established, 10, "b").Owners[0].Comm = "dockerd"
	s.expectOf(s.run(s.rules(closeWait, "again")), other, engine.DecideGuarded, "container bbbbbbbbbbbb has also app[10]: protected process app")
	s.Containers = map[string]world.Container{inside(7, "a").Cgroup: named("hbbs", "")}
	r = s.run(s.rules(closeWait+` && container != "x"`, "again"))
	s.expectOf(r, hung, engine.DecideGuarded, "container hbbs has also app[8]: protected process app")
}

// For a leak of many sockets the processes of their container are asked for only a few
// times: each answer looks at all of them, and the last look has no time for thousands.
func TestContainerOfManySockets(t *testing.T) {
	s, again := restarted(t, live)
	for range 500 {
		s.inContainer(collectors.CloseWait, 7, "a")
	}
	s.expect(s.rules(closeWait, "again"), "500 act again done")
	if len(again.Applied) != 1 || s.Walks > 5 {
		t.Errorf("%d applied, asked %d times", len(again.Applied), s.Walks)
	}
}

// The established connections of all processes in a container count.
func TestCollateralOfContainer(t *testing.T) {
	s, _ := restarted(t, engine.Options{})
	hung := s.inContainer(collectors.CloseWait, 7, "a")
	for range 2 {
		s.inContainer(collectors.Established, 8, "a")
		s.inContainer(collectors.Established, 9, "b")
	}
	const why = "max_collateral 1: 2 established connections would die with container aaaaaaaaaaaa"
	s.expectOf(s.run(s.rules(closeWait, "again", "limits: {max_collateral: 1}")), hung, engine.DecideLimited, why)
	f := s.findingOf(s.run(s.rules(closeWait, "again", "limits: {max_collateral: 2}")), hung)
	s.expectFinding(f, engine.DecideAct, "", actions.Would)
	if f.Collateral != 2 {
		t.Errorf("collateral %d", f.Collateral)
	}
}
