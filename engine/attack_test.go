package engine

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/socklab"
	"sockwarden/collectors/socklab/tunpeer"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/world"
)

const (
	// envTorture sets how long the attack lasts; envSeed repeats one.
	envTorture, envSeed = "SOCKWARDEN_TORTURE", "SOCKWARDEN_SEED"
	// victimsAtOnce is how many connections are attacked at the same time.
	victimsAtOnce = 250
	// tolerance allows for rounding, in seconds.
	tolerance = 0.001
)

// attack is a user-space peer that does whatever comes to its mind to many connections,
// with looks at all of them in between.
type attack struct {
	t         *testing.T
	start     time.Time
	seed      uint64
	rng       *rand.Rand
	dev       *tunpeer.Device
	events    *lab
	listeners map[bool]*sock
	victims   map[[2]netip.AddrPort]*victim
	running   []*victim
	memories  []*memory.Memory // of all looks, of rare ones and of rarer ones

	records, observed, byEvent, begun, overtaken int
	shown                                        map[string]int // what was tested
	tick                                         float64        // by how much the tick was late at the last look, in seconds
}

// Whatever a peer does, no age exceeds the truth, by one look, by several or by events.
// The one exception only the peer can forge: its FIN with an old ACK number. The truth is
// when the test itself last saw the socket in another state.
func TestAgesUnderAttack(t *testing.T) {
	length, seed := 10*time.Second, uint64(time.Now().UnixNano())
	if text := os.Getenv(envTorture); text != "" {
		var err error
		length, err = time.ParseDuration(text)
		must(t, envTorture, err)
	}
	if text := os.Getenv(envSeed); text != "" {
		var err error
		seed, err = strconv.ParseUint(text, 10, 64)
		must(t, envSeed, err)
	}
	a := newAttack(t, seed)
	a.last(length)
	t.Logf("%s=%d: %d records of %d connections, %d ages by observation, %d by events, %d overtaken: %v",
		envSeed, seed, a.records, a.begun, a.observed, a.byEvent, a.overtaken, a.shown)
	if names := a.missing(); len(names) > 0 {
		t.Errorf("not put to the test: %s", names)
	}
	if a.observed == 0 {
		t.Error("nothing was observed")
	}
}

func newAttack(t *testing.T, seed uint64) *attack {
	a := &attack{
		t: t, start: time.Now(), seed: seed, rng: rand.New(rand.NewPCG(seed, 0)), dev: tunpeer.Open(t),
		listeners: map[bool]*sock{}, victims: map[[2]netip.AddrPort]*victim{}, shown: map[string]int{},
		memories: []*memory.Memory{memory.NewMemory(), memory.NewMemory(), memory.NewMemory()},
	}
	const serverWithoutCookie = "1539"
	socklab.Home(t).Sysctl(t, "net/ipv4/tcp_fastopen", serverWithoutCookie)
	socklab.Home(t).Sysctl(t, "net/ipv4/tcp_invalid_ratelimit", "0")
	for _, v6 := range []bool{false, true} {
		l := bound(t, tunpeer.Local(v6))
		must(t, "fast open", unix.SetsockoptInt(l.fd, unix.SOL_TCP, unix.TCP_FASTOPEN, 1000))
		must(t, "listen", unix.Listen(l.fd, 1000))
		a.listeners[v6] = l
	}
	if os.Geteuid() == 0 {
		a.events = newLab(t, Options{Events: look.EventsOn})
		a.events.looker.Ages.Noted = collectors.AllStates &^ collectors.Mask(collectors.Close)
		must(t, "states", a.events.looker.Ages.Events.SetStates(a.events.looker.Ages.Noted))
	}
	return a
}

// attacked are the states under test, each in both families.
var attacked = []collectors.State{
	collectors.SynSent, collectors.Established, collectors.CloseWait, collectors.FinWait1, collectors.FinWait2,
	collectors.Closing, collectors.LastAck, collectors.TimeWait,
}

// missing returns the attacked states that were not tested.
func (a *attack) missing() (names []string) {
	for _, s := range attacked {
		for _, family := range []string{"v4", "v6"} {
			if name := s.String() + " " + family; a.shown[name] == 0 {
				names = append(names, name)
			}
		}
	}
	return names
}

// goesOn reports whether there is time left; a machine too slow to get to everything has
// more.
func (a *attack) goesOn(end time.Time) bool {
	left := time.Until(end)
	return left > 0 || left > -2*time.Minute && (a.observed == 0 || len(a.missing()) > 0)
}

// last runs the attack for that long, or until something is wrong.
func (a *attack) last(length time.Duration) {
	end := time.Now().Add(length)
	for wrong := 0; a.goesOn(end) && wrong < 5; {
		for len(a.running) < victimsAtOnce {
			a.begun++
			a.running = append(a.running, newVictim(a, a.seed+uint64(a.begun)))
		}
		a.accept()
		kept := a.running[:0]
		for _, v := range a.running {
			if !time.Now().Before(v.next) {
				v.poll()
				v.step()
				v.poll()
			}
			if v.steps > 0 {
				kept = append(kept, v)
			} else {
				v.end()
			}
		}
		a.running = kept
		wrong += a.look()
	}
	for _, v := range a.running {
		v.end()
	}
	// Leave nothing to the tests that follow: orphans no longer have a peer.
	for _, l := range a.listeners {
		l.reset()
	}
	conn, err := sockdiag.Dial(-1)
	must(a.t, "dial", err)
	defer func() { _ = conn.Close() }()
	for _, s := range sockets(a.t) {
		if local, remote := ends(&s); a.victims[[2]netip.AddrPort{local, remote}] != nil {
			_ = conn.Destroy(a.t.Context(), &s) // gone by itself is just as good
		}
	}
}

// accept takes what waits at the listeners.
func (a *attack) accept() {
	for _, l := range a.listeners {
		for {
			fd, from, err := unix.Accept4(l.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
			if err != nil {
				break
			}
			v := a.victims[[2]netip.AddrPort{l.local, addrPort(from)}]
			if v == nil || v.fd >= 0 || v.steps <= 0 {
				(&sock{fd: fd}).reset()
				continue
			}
			v.fd = fd
			if v.cookie == 0 { // it can end before the first look
				v.cookie, err = unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
				must(a.t, "cookie", err)
			}
			v.say("accepted")
		}
	}
}

// look looks at all sockets and compares its conclusions with the truth.
func (a *attack) look() (wrong int) {
	began, before, tick := world.Mono(), time.Now(), tickLate(a.t) // without a processor, stamps are as late as the tick
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.AllStates &^ collectors.Mask(collectors.Listen, collectors.Close), Fields: collectors.InfoFields()}
	var all []collectors.Socket
	for s, err := range sockdiag.Plugin().New(-1).Collect(a.t.Context(), q) {
		must(a.t, "dump", err)
		all = append(all, *s)
	}
	now, after := world.Mono(), time.Now()
	a.tick = max(tick, tickLate(a.t)).Seconds()
	var looks []*memory.Memory
	for i, m := range a.memories {
		if a.rng.IntN([]int{1, 8, 60}[i]) == 0 {
			looks = append(looks, m)
		}
	}
	there := map[[2]netip.AddrPort]bool{}
	for i := range all {
		local, remote := ends(&all[i])
		pair := [2]netip.AddrPort{local, remote}
		there[pair] = true
		v := a.victims[pair]
		if v != nil && v.cookie == 0 {
			v.cookie = all[i].Cookie
		}
		if v != nil && !v.wrong && v.cookie == all[i].Cookie { // a SYN to one that is gone makes another socket
			v.saw(all[i].State, before, after)
			if v.check(&all[i], looks, began, now, before, after); v.wrong {
				wrong++
			}
		}
	}
	for pair, v := range a.victims {
		if v.steps <= 0 && !there[pair] {
			delete(a.victims, pair)
		}
	}
	for i, m := range a.memories {
		if len(m.Seen) > memory.MaxRemembered/2 {
			a.memories[i] = memory.NewMemory()
		}
	}
	return wrong
}

// overtaken reports whether a connection that replaced another on the same descriptor
// between two looks has by then received and sent more segments than the earlier one:
// only events tell them apart (docs/ages.md).
func overtaken(before, now *memory.Mark, s collectors.State) bool {
	if s == collectors.SynSent {
		return now.FirstRTO > 0 && now.SegsIn >= before.SegsIn && now.SegsOut >= before.SegsOut
	}
	return now.SegsIn > before.SegsIn && now.SegsOut > before.SegsOut && now.Sent >= before.Sent && now.Received >= before.Received
}

// check compares what one record and the looks before it say with the truth.
func (v *victim) check(rec *collectors.Socket, looks []*memory.Memory, began, now float64, before, after time.Time) {
	truth, least := after.Sub(v.since).Seconds(), before.Sub(v.seenSince).Seconds()
	key, mk := collectors.KeyOf(rec), memory.MarkOf(rec, began, now)
	forged := v.oldACK && (rec.State == collectors.CloseWait || rec.State == collectors.Closing)
	v.a.records++
	v.a.shown[rec.State.String()+" "+v.family()]++
	bad := func(format string, args ...any) {
		if !v.wrong {
			v.wrong = true
			v.a.t.Errorf("%s=%d, connection %d, %s %s -> %s, %.3f to %.3fs in its state: %s\n%+v\n%s",
				envSeed, v.a.seed, v.number, rec.State, v.local, v.remote, least, truth, fmt.Sprintf(format, args...), *rec, v.story())
		}
	}
	moved := v.moves(rec, before)
	age := look.Evidence(rec)
	if age.Min > truth && !forged {
		bad("one look: %+v", age)
	}
	if late := map[bool]float64{true: 1, false: 0.05}[rec.State == collectors.SynSent]; age.Bounded && age.Max+late+v.a.tick < least {
		bad("one look, at most: %+v", age)
	}
	for _, m := range looks {
		before, had := memory.Mark{}, false
		if s := m.Seen[key]; s != nil {
			before, had = s.Mark, true
		}
		// A slow look hides for a while that what it remembers is too old.
		was := memorized{m, key}
		replaced := had && v.again && v.marked[was].Before(v.began) && overtaken(&before, &mk, rec.State)
		v.marked[was] = after
		got := m.Observe(key, mk, age, began, now)
		if waited := after.Sub(moved).Seconds() + tolerance; look.Stalled(m, rec, began, now).Min > waited {
			if !replaced {
				bad("stalled: %+v, something moved %.3fs ago", look.Stalled(m, rec, began, now), waited)
			}
		}
		if got.Source != collectors.AgeObserved {
			continue
		}
		if replaced {
			v.a.overtaken++
			delete(m.Seen, key)
			continue
		}
		if v.a.observed++; got.Min > truth+tolerance {
			bad("observed: %+v", got)
		}
	}
	if v.a.events != nil {
		if got := v.a.events.looker.Ages.Shown(rec, now); got.Source == collectors.AgeEvent {
			if v.a.byEvent++; got.Min > truth || got.Max+0.01 < least {
				bad("event: %+v", got)
			}
		}
	}
	record := collectors.NewRecord(rec, nil, nil, nil, "")
	for _, f := range []collectors.Field{collectors.FieldIdle, collectors.FieldIdleRecv, collectors.FieldIdleSend, collectors.FieldAckIdle} {
		if record.Known.Has(f) {
			if got := f.Doc().Num(&record); got > after.Sub(v.began).Seconds()+look.Slack {
				bad("%s is %.3f, the connection is at most %.3fs old", f, got, after.Sub(v.began).Seconds())
			}
		}
	}
}
