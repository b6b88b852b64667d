package ruletest

import (
	"fmt"
	"log/slog"
	"slices"
	"time"

	"sockwarden/collectors"
	"sockwarden/collectors/host"
	"sockwarden/engine"
	"sockwarden/engine/scripted"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// stage is the world of one test, with an engine in it.
type stage struct {
	*engine.Engine
	machine machine
	world   *scripted.World
	program *rules.Program
	test    *rules.Test
	cast
	began    time.Time
	outcomes []rules.TestOutcomes // those that count, the youngest last
	places   places
}

// cast are the sockets of a test.
type cast struct {
	actors   []*actor
	byCookie map[uint64]*actor
	nobody   *actor         // stands for groups without any socket
	pids     map[string]int // of processes of which only the name is known
	ports    uint16         // the last that a peer has
}

func newCast() cast {
	return cast{byCookie: map[uint64]*actor{}, pids: map[string]int{}, ports: firstPort}
}

// places are the network namespaces, by their names.
type places map[string]uint64

// newStage makes the world of a test.
func newStage(t *rules.Test, p *rules.Program, w *scripted.World) (*stage, error) {
	s := &stage{
		machine: w, world: w, program: p, test: t, began: w.Now(), places: places{world.HostName: 0},
		cast:     newCast(),
		outcomes: []rules.TestOutcomes{t.Outcomes},
	}
	s.nobody = &actor{said: &rules.TestSocket{Name: rules.Nobody}, stage: s, sock: &scripted.Socket{}}
	w.Comes = s.comes
	// Namespaces first: the engine looks for those that the rules name.
	for _, name := range p.NetNS {
		if name != "all" {
			s.placeOf(name)
		}
	}
	all := slices.Clone(t.Sockets)
	for _, step := range t.Steps {
		all = append(all, step.Add...)
	}
	for _, one := range all {
		if name, ok := one.Given[collectors.FieldNetNS].(string); ok {
			s.placeOf(name)
		}
	}
	door := w.World()
	door.Invented, door.OpenEvents = s, nil
	door.Network, door.Counter = network{door.Network, s}, counter{door.Counter}
	if name, ok := hostOf(all); ok {
		door.Host.Name = name
	}
	if t.Kernel != "" {
		door.Host.Kernel = host.ParseKernel(t.Kernel)
	}
	for _, one := range t.Sockets {
		if err := s.enter(one); err != nil {
			return nil, err
		}
	}
	door.Self.Session = s.session()
	var err error
	s.Engine, err = engine.New(engine.Options{
		Sources: []collectors.Plugin{w.Source()}, World: door, Live: t.Live, Events: engine.EventsOff, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, fmt.Errorf("test %q: %w", t.Name, err)
	}
	s.Repeats(t.Interval)
	return s, nil
}

// firstPort is before the port of the first peer.
const firstPort = 40_000

// placeOf returns the number of a network namespace, which it makes if it is not there.
func (s *stage) placeOf(name string) uint64 {
	if _, ok := s.places[name]; !ok {
		s.places[name] = s.world.Namespace(name)
	}
	return s.places[name]
}

// hostOf is the name that sockets give the machine.
func hostOf(all []*rules.TestSocket) (name string, ok bool) {
	for _, one := range all {
		if name, ok = one.Given[collectors.FieldHost].(string); ok {
			return name, true
		}
	}
	return "", false
}

// network is that of the scripted world, but for what a test has to say itself.
type network struct {
	world.Network
	stage *stage
}

// Ports says nothing: which ports are ephemeral would make directions known.
func (network) Ports(*world.Namespace) (world.Ports, error) { return world.Ports{}, nil }

// Interfaces are those that sockets name.
func (n network) Interfaces(*world.Namespace) (map[uint32]string, error) {
	all := map[uint32]string{}
	for i, name := range n.stage.interfaces() {
		all[uint32(i)+1] = name
	}
	return all, nil
}

// interfaces are the names of the interfaces that sockets are bound to.
func (c *cast) interfaces() (names []string) {
	for _, a := range c.actors {
		if name, ok := a.said.Given[collectors.FieldInterface].(string); ok && name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// counter counts the sockets of the scripted world, and those of an ordinary host beside
// them: a rule that takes all sockets of a test does not take all of a host.
type counter struct{ world.Counter }

// ordinary is how many connections a host has that a test says nothing of.
const ordinary = 10_000

// Count counts those of each namespace.
func (c counter) Count(all []*world.Namespace) ([]world.Counts, []error) {
	counts, errs := c.Counter.Count(all)
	for i := range counts {
		counts[i].TCP += ordinary
	}
	return counts, errs
}
