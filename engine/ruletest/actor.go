package ruletest

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/scripted"
	"sockwarden/rules"
	"sockwarden/rules/lang"
)

// actor is one socket of a test.
type actor struct {
	said  *rules.TestSocket
	stage *stage
	sock  *scripted.Socket
	// facts and namespace are beyond its record. All times in it are as they were then.
	facts     collectors.Facts
	namespace collectors.Namespace
	at        time.Time
	since     time.Time          // when it entered its state before our eyes, zero if it did not
	outcomes  rules.TestOutcomes // of effects on it, those to come
	// recorded is what a recording knows of it, nil for an invented socket.
	recorded *engine.Candidate
}

// identity tells one socket of a test from all others.
type identity struct {
	netns, cookie uint64
	key           collectors.Key // of a socket without a cookie
}

func identityOf(s *collectors.Socket) identity {
	if s.Cookie == 0 {
		return identity{key: collectors.KeyOf(s)}
	}
	return identity{netns: s.NetNS, cookie: s.Cookie}
}

func (a *actor) identity() identity { return identityOf(&a.sock.Socket) }

// there reports whether the kernel still has the socket.
func (p *play) there(a *actor) bool { return a.recorded != nil || p.world.There(a.sock) }

// records are what conditions read of the actor, for each process that has it.
func (a *actor) records() (all []collectors.Record) {
	owners := a.owners()
	for i := range max(1, len(owners)) {
		switch {
		case a.recorded != nil:
			all = append(all, a.recorded.RecordOf(i))
		case len(owners) == 0:
			all = append(all, a.record(nil))
		default:
			all = append(all, a.record(&owners[i]))
		}
	}
	return all
}

// enter puts a socket, or several that are alike, into the world.
func (s *stage) enter(t *rules.TestSocket) error {
	for range t.Times {
		a := &actor{said: t, stage: s, outcomes: maps.Clone(t.Outcomes)}
		record, err := s.build(a)
		if err != nil {
			return err
		}
		sock := *record.Socket
		if sock.RemotePort == 0 && !t.Peerless(&sock) {
			s.ports++
			sock.RemotePort = s.ports
		}
		if name, ok := a.said.Given[collectors.FieldNetNS].(string); ok {
			sock.NetNS = s.placeOf(name)
		}
		s.actors = append(s.actors, a)
		if name, ok := a.said.Given[collectors.FieldInterface].(string); ok && name != "" {
			sock.IfIndex = uint32(slices.Index(s.interfaces(), name)) + 1
		}
		a.facts, a.at = *record.Facts, s.world.Now()
		a.sock = s.world.Put(sock, func(now *collectors.Socket) { a.grow(now) }, a.facts.Owners...)
		s.byCookie[a.sock.Cookie] = a
	}
	return nil
}

// build is the record of what is said of a socket.
func (s *stage) build(a *actor) (collectors.Record, error) {
	r, err := a.said.Record()
	if err != nil {
		return r, err
	}
	for i := range r.Facts.Owners {
		s.number(&r.Facts.Owners[i])
	}
	a.namespace = *r.Namespace
	return r, nil
}

// firstPID is before the number of the first process of which only the name is known.
const firstPID = 1000

// number gives a process the number that it lacks: one for each name.
func (s *stage) number(o *collectors.Owner) {
	if o.PID == 0 {
		if s.pids[o.Name] == 0 {
			s.pids[o.Name] = firstPID + len(s.pids) + 1
		}
		o.PID = s.pids[o.Name]
	}
	o.StartTime = uint64(o.PID)
}

// growing are the fields that grow while nothing happens.
var growing = collectors.AgeFields().Or(collectors.StallFields()).Or(lang.IdleFields()).Or(collectors.Fields(collectors.FieldProcessAge))

// change sets fields of a socket, now. What is not said goes on: what grows has grown
// meanwhile. Whatever enters another state does so at this moment.
func (s *stage) change(a *actor, t *rules.TestSocket) error {
	now := *a.said
	now.Given = maps.Clone(a.said.Given)
	for f := range growing.Each {
		if v, ok := now.Given[f].(float64); ok {
			now.Given[f] = v + a.passed().Seconds()
		}
	}
	enters := now.Enters(t)
	a.said = now.With(t)
	if t.Outcomes != nil {
		a.outcomes = maps.Clone(t.Outcomes)
	}
	record, err := s.build(a)
	if err != nil {
		return err
	}
	sock, was := *record.Socket, a.sock.Socket
	sock.Cookie, sock.NetNS, sock.IfIndex = was.Cookie, was.NetNS, was.IfIndex
	if sock.RemotePort == 0 && !a.said.Peerless(&sock) {
		sock.RemotePort = was.RemotePort
	}
	if sock.Inode != 0 {
		sock.Inode = uint32(was.Cookie)
	}
	_, aged := t.Given[collectors.FieldAge]
	a.facts, a.at = *record.Facts, s.world.Now()
	if enters || aged {
		a.since = a.at
	}
	a.sock.Socket, a.sock.Owners = sock, a.facts.Owners
	return nil
}

// passed is how long ago what the actor says was so.
func (a *actor) passed() time.Duration { return a.stage.world.Now().Sub(a.at) }

// grow makes the record of this moment: stamps grow, timers run down.
func (a *actor) grow(s *collectors.Socket) {
	ms := uint32(a.passed().Milliseconds())
	s.Info.LastDataSent, s.Info.LastDataRecv, s.Info.LastAckRecv = s.Info.LastDataSent+ms, s.Info.LastDataRecv+ms, s.Info.LastAckRecv+ms
	s.TimerExpires -= min(ms, s.TimerExpires)
}

// Age returns for how long a socket has been in its state, as the test says.
func (s *stage) Age(sock *collectors.Socket) collectors.Age {
	a := s.byCookie[sock.Cookie]
	if a == nil {
		return collectors.NoAge()
	}
	return a.age()
}

func (a *actor) age() collectors.Age {
	given, passed := a.facts.Age, a.passed().Seconds()
	_, knowsLeast := a.said.Given[collectors.FieldAge]
	_, knowsMost := a.said.Given[collectors.FieldAgeMax]
	_, knowsSource := a.said.Given[collectors.FieldAgeSource]
	switch {
	case knowsLeast && !knowsMost && !knowsSource: // the usual way to say it
		return collectors.Age{Min: given.Min + passed, Max: given.Min + passed, Bounded: true, Source: collectors.AgeEvent}
	case knowsLeast || knowsMost:
		given.Min, given.Max = given.Min+passed, given.Max+passed
		if !knowsLeast {
			given.Min, given.Source = 0, collectors.AgeNone
		}
		return given
	case !a.since.IsZero():
		since := a.stage.world.Now().Sub(a.since).Seconds()
		return collectors.Age{Min: since, Max: since, Bounded: true, Source: collectors.AgeEvent}
	}
	return collectors.NoAge()
}

// Stalled returns for how long what a socket has sent has been waiting.
func (s *stage) Stalled(sock *collectors.Socket) collectors.Age {
	a := s.byCookie[sock.Cookie]
	if a == nil {
		return collectors.NoAge()
	}
	if _, ok := a.said.Given[collectors.FieldSendStalled]; !ok {
		return collectors.NoAge()
	}
	stalled := a.facts.Stalled
	stalled.Min += a.passed().Seconds()
	stalled.Max += a.passed().Seconds()
	return stalled
}

// told are the facts that a test says itself, or the sockets of the test give.
var told = collectors.Fields(collectors.FieldLocalAddrGone, collectors.FieldPublished, collectors.FieldCgroup).Or(collectors.PeerFields())

// Tell completes the facts about a socket.
func (s *stage) Tell(sock *collectors.Socket, f *collectors.Facts) {
	a := s.byCookie[sock.Cookie]
	if a == nil {
		return
	}
	f.Known.Remove(told)
	f.Known.Add(a.facts.Known.And(told))
	f.LocalAddrGone, f.Published, f.Cgroup, f.Peers = a.facts.LocalAddrGone, a.facts.Published, a.facts.Cgroup, a.facts.Peers
	direction, listener := collectors.Fields(collectors.FieldDirection), collectors.Fields(collectors.FieldListenerProcess)
	if a.facts.Known.Meets(direction) {
		f.Direction = a.facts.Direction
		f.Known.Add(direction)
	}
	switch {
	case a.facts.Known.Meets(listener):
		f.ListenerOwner = a.facts.ListenerOwner
		f.Known.Add(listener)
	case f.ListenerOwner == nil: // that nobody listens is not known either
		f.Known.Remove(listener)
	}
	if a.said.Hidden {
		f.OthersHidden = true
		f.Known.Remove(collectors.Fields(collectors.FieldOwners))
	}
	for i := range f.Owners {
		for _, o := range a.owners() {
			if o.PID == f.Owners[i].PID {
				f.Owners[i] = o
			}
		}
	}
}

// owners are the processes of the actor as they are now.
func (a *actor) owners() []collectors.Owner {
	all := slices.Clone(a.sock.Owners)
	for i := range all {
		all[i].Age += a.passed().Seconds()
	}
	return all
}

// session are the peers of sockets that are the invoking session.
func (c *cast) session() (peers []netip.AddrPort) {
	for _, a := range c.actors {
		if a.said.Session {
			peers = append(peers, netip.AddrPortFrom(a.sock.Remote.Netip(), a.sock.RemotePort))
		}
	}
	return peers
}

// record is what a condition reads of the actor now, for one of its processes; nil for none.
func (a *actor) record(o *collectors.Owner) collectors.Record {
	sock, facts := a.sock.Socket, a.facts
	a.grow(&sock)
	facts.Age, facts.Stalled = a.age(), a.stage.Stalled(&sock)
	facts.Known.Remove(collectors.AgeFields())
	facts.Known.Add(collectors.Fields(collectors.FieldAgeSource))
	if facts.Age.Source != collectors.AgeNone {
		facts.Known.Add(collectors.Fields(collectors.FieldAge))
	}
	if facts.Age.Bounded {
		facts.Known.Add(collectors.Fields(collectors.FieldAgeMax))
	}
	return collectors.NewRecord(&sock, &a.namespace, &facts, o, scripted.Host)
}
