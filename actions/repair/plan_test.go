package repair

import (
	"maps"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/actions/actiontest"
	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// returns undoes vanish: packets reach the other end again.
func returns(t *testing.T, c *socklab.Conn) {
	t.Helper()
	must(t, "no filter", unix.SetsockoptInt(c.Peer, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0))
}

// silent waits until the peer has been silent for longer than d.
func silent(t *testing.T, c *socklab.Conn, d time.Duration) {
	t.Helper()
	socklab.WaitFor(t, "silence", func() bool {
		info, err := unix.GetsockoptTCPInfo(c.FD, unix.IPPROTO_TCP, unix.TCP_INFO)
		must(t, "TCP_INFO", err)
		return time.Duration(silence(info))*time.Millisecond > d
	})
}

// A live peer survives five seconds in which every packet is lost, however long it was
// silent before, and whatever user_timeout the action asks for or the program has set.
func TestLivePeerSurvivesLoss(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	actiontest.LeakCheck(t)
	params := map[string]any{"idle": time.Second, "interval": time.Second, "count": 9.0}
	with := func(timeout time.Duration) map[string]any {
		p := map[string]any{"user_timeout": timeout}
		maps.Copy(p, params)
		return p
	}
	const silence, probing, loss = 2 * time.Second, 10 * time.Second, 5 * time.Second
	cases := []struct {
		name    string
		params  map[string]any
		program time.Duration // its own TCP_USER_TIMEOUT
		want    actions.Result
		detail  string
		set     string
	}{
		{"none", params, 0, actions.Repaired, "before: keepalive off", "1 1 1 9 0"},
		{"below the silence", with(time.Second), 0, actions.Repaired, "user_timeout is left alone: after ", "1 1 1 9 0"},
		{"below silence and probes", with(probing + silence/2), 0, actions.Repaired, "user_timeout is left alone: after ", "1 1 1 9 0"},
		{"above", with(time.Minute), 0, actions.Repaired, "before: keepalive off", "1 1 1 9 60000"},
		{"above, where the program's is not", with(time.Minute), time.Second, actions.Repaired, "before: keepalive off, user_timeout 1s", "1 1 1 9 60000"},
		{"of the program", params, time.Second, actions.Unchanged, "left alone: its user_timeout of 1s would end it", "0 7200 75 9 1000"},
		{"of the program, high enough", params, time.Minute, actions.Repaired, "before: keepalive off, user_timeout 1m0s", "1 1 1 9 60000"},
	}
	conns := make([]*socklab.Conn, len(cases))
	for i, c := range cases {
		conns[i] = socklab.Make(t, socklab.Established, socklab.IPv4)
		if c.program > 0 {
			must(t, "TCP_USER_TIMEOUT", unix.SetsockoptInt(conns[i].FD, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(c.program/time.Millisecond)))
		}
	}
	sealed := make([]actions.Sealed, len(cases))
	for i, conn := range conns {
		sealed[i] = actiontest.Sealed(t, conn)
		silent(t, conn, silence)
		vanish(t, conn)
	}
	lost := time.Now()
	for i, c := range cases {
		out := applied(t, c.params, sealed[i])
		if out.Result != c.want || !strings.Contains(out.Detail, c.detail) {
			t.Errorf("%s: %+v, not %s %q", c.name, out, c.want, c.detail)
		}
		if got := options(t, &sealed[i]); got != c.set {
			t.Errorf("%s: set %s, not %s", c.name, got, c.set)
		}
	}
	socklab.WaitFor(t, "packets to be lost", func() bool { return time.Since(lost) > loss })
	for i, conn := range conns {
		returns(t, conn)
		_, err := unix.Write(conn.FD, []byte("alive?"))
		if err != nil {
			t.Errorf("%s: write: %v", cases[i].name, err)
			continue
		}
		buf := make([]byte, 16)
		socklab.WaitFor(t, "the data to arrive", func() bool { n, _ := unix.Read(conn.Peer, buf); return n == 6 })
		if state, there := conn.Now(); !there || state != collectors.Established {
			t.Errorf("%s: it is %s (%t)", cases[i].name, state, there)
		}
	}
}

// Keepalive that the program already uses is not cut short, because its unanswered probes
// would count.
func TestProbesUnanswered(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	actiontest.LeakCheck(t)
	c := socklab.Make(t, socklab.Established, socklab.IPv6)
	vanish(t, c)
	for _, o := range [][2]int{{unix.TCP_KEEPIDLE, 1}, {unix.TCP_KEEPINTVL, 1}, {unix.TCP_KEEPCNT, 100}} {
		must(t, "keepalive", unix.SetsockoptInt(c.FD, unix.IPPROTO_TCP, o[0], o[1]))
	}
	must(t, "SO_KEEPALIVE", unix.SetsockoptInt(c.FD, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1))
	s := actiontest.Sealed(t, c)
	socklab.WaitFor(t, "two probes", func() bool {
		info, err := unix.GetsockoptTCPInfo(c.FD, unix.IPPROTO_TCP, unix.TCP_INFO)
		must(t, "TCP_INFO", err)
		return info.Probes >= 2
	})
	out := applied(t, map[string]any{"idle": time.Second, "interval": time.Second, "count": 1.0}, s)
	if out.Result != actions.Unchanged || !strings.Contains(out.Detail, "probes are unanswered already") {
		t.Errorf("%+v", out)
	}
	if got := options(t, &s); got != "1 1 1 100 0" {
		t.Errorf("set: %s", got)
	}
}

func TestWarn(t *testing.T) {
	for _, c := range []struct {
		params map[string]any
		want   string
		silent time.Duration
	}{
		{nil, "", time.Hour},
		{map[string]any{"user_timeout": 5 * time.Minute}, "", 2 * time.Minute},
		{map[string]any{"user_timeout": 5 * time.Minute}, "the rule waits for 30m0s of silence: it would have to be more than 32m0s", 30 * time.Minute},
		{map[string]any{"user_timeout": 2 * time.Minute}, "user_timeout 2m0s is never set: the first lost probe would end a live connection, " +
			"unless it is more than idle + count * interval (2m0s)", 0},
		{map[string]any{"user_timeout": 2*time.Minute + time.Second}, "", 0},
		{map[string]any{"user_timeout": 30 * time.Second, "idle": 20 * time.Second, "interval": 5 * time.Second, "count": 1.0}, "", 0},
		{map[string]any{"user_timeout": 30 * time.Second, "idle": 20 * time.Second, "interval": 5 * time.Second, "count": 3.0}, "(35s)", 0},
	} {
		got := Plugin().Warn(c.params, &collectors.Query{}, c.silent)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%v: %q, not %q", c.params, got, c.want)
		}
	}
}
