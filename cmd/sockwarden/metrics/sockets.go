package metrics

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/look"
)

// statesOf returns the states that a protocol has: UDP is connected or not.
func statesOf(p collectors.Protocol) []collectors.State {
	if !p.Connects() {
		return []collectors.State{collectors.Established, collectors.Close}
	}
	var states []collectors.State
	for s := range collectors.State(len(look.ByState{})) {
		if collectors.AllStates.Has(s) {
			states = append(states, s)
		}
	}
	return states
}

// collectSockets sends the number of sockets, zeros too.
func collectSockets(ch chan<- prometheus.Metric, n *engine.Census) {
	for protocol, counts := range n.Sockets {
		for _, s := range statesOf(protocol) {
			ch <- sockets.is(float64(counts[s]), protocol.String(), s.String())
		}
	}
}

// program is a program, as labels name it.
type program struct{ process, container string }

// programOf names a process; a container whose name is not known goes by its id.
func programOf(o *collectors.Owner) program {
	const short = 12 // as docker ps prints them
	container := o.Container[:min(short, len(o.Container))]
	return program{label(o.Name), label(cmp.Or(o.ContainerName, container))}
}

// speaker is the process that names a listener: init often passes a listener on and keeps
// it.
func speaker(owners []collectors.Owner) program {
	for i := range owners {
		if owners[i].PID != 1 {
			return programOf(&owners[i])
		}
	}
	if len(owners) > 0 {
		return programOf(&owners[0])
	}
	return program{}
}

// listener is one listener, as labels name it.
type listener struct {
	port string
	program
}

// collectListeners sends the sockets of the listeners with most of them, and of all others
// together.
func collectListeners(ch chan<- prometheus.Metric, n *engine.Census, top int) {
	counts := map[listener]look.ByState{}
	for i := range n.Listeners {
		l := &n.Listeners[i]
		key := listener{strconv.Itoa(int(l.Port)), speaker(l.Owners)}
		sum := counts[key]
		sum.Add(&l.ByState)
		counts[key] = sum
	}
	order := slices.SortedFunc(maps.Keys(counts), func(a, b listener) int {
		x, y := counts[a], counts[b]
		return cmp.Or(cmp.Compare(y.Total(), x.Total()), cmp.Compare(a.port, b.port), cmp.Compare(a.process, b.process), cmp.Compare(a.container, b.container))
	})
	var rest look.ByState
	for _, key := range order[min(top, len(order)):] {
		sum := counts[key]
		rest.Add(&sum)
	}
	send := func(key listener, sum *look.ByState) {
		for _, s := range statesOf(collectors.TCP) {
			ch <- listenerSockets.is(float64(sum[s]), key.port, key.process, key.container, s.String())
		}
	}
	for _, key := range order[:min(top, len(order))] {
		sum := counts[key]
		send(key, &sum)
	}
	if len(order) > top {
		send(listener{other, program{other, other}}, &rest)
	}
}

// descriptors are the open descriptors of a process, and how many it may open.
type descriptors struct{ open, limit float64 }

func (d descriptors) share() float64 { return d.open / d.limit }

// nearer returns the one that is nearer to its limit.
func (d descriptors) nearer(e descriptors) descriptors {
	if d.limit == 0 || e.share() > d.share() || e.share() == d.share() && e.open > d.open {
		return e
	}
	return d
}

// collectProcesses sends the descriptors of the programs that are nearest to their limits,
// and of the nearest among all others.
func collectProcesses(ch chan<- prometheus.Metric, n *engine.Census, top int) {
	found := map[program]descriptors{}
	for i := range n.Processes {
		o := &n.Processes[i]
		if !o.Known.Has(collectors.FieldFDs) || !o.Known.Has(collectors.FieldFDLimit) {
			continue
		}
		d := descriptors{float64(o.FDs), float64(o.FDLimit)}
		if o.FDLimit == math.MaxUint64 {
			d.limit = math.Inf(1)
		}
		key := programOf(o)
		found[key] = found[key].nearer(d)
	}
	order := slices.SortedFunc(maps.Keys(found), func(a, b program) int {
		return cmp.Or(cmp.Compare(found[b].share(), found[a].share()), cmp.Compare(a.process, b.process), cmp.Compare(a.container, b.container))
	})
	var rest descriptors
	for i, key := range order {
		if i >= top {
			rest = rest.nearer(found[key])
			continue
		}
		ch <- openFDs.is(found[key].open, key.process, key.container)
		ch <- maxFDs.is(found[key].limit, key.process, key.container)
	}
	if len(order) > top {
		ch <- openFDs.is(rest.open, other, other)
		ch <- maxFDs.is(rest.limit, other, other)
	}
}
