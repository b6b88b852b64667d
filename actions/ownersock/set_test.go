package ownersock_test

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/actions/actiontest"
	"sockwarden/actions/ownersock"
	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
	"sockwarden/collectors/socklab"
)

// nodelay is an action that anybody could add, with everything specific to it.
func nodelay() actions.Plugin {
	setter := ownersock.Setter{
		Name: "nodelay", States: collectors.Mask(collectors.Established, collectors.CloseWait), Proc: procfs.New(""),
		Plan: ownersock.Options(ownersock.Option{Word: "nodelay", Level: unix.IPPROTO_TCP, Name: unix.TCP_NODELAY, Value: 1}),
	}
	return actions.Plugin{
		Name: "nodelay", Summary: "sends what is written at once", Doc: "Sets TCP_NODELAY.", Needs: ownersock.Needs(),
		Scope: actions.ScopeOwnedSocket, Gentle: true, Results: ownersock.Results(),
		New: func(map[string]any) (actions.Action, error) { return setter, nil },
	}
}

func noDelay(fd int) string {
	v, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY)
	return fmt.Sprintf("nodelay %d %v", v, err)
}

func TestSetterConformance(t *testing.T) {
	for _, kind := range []socklab.Kind{socklab.Established, socklab.CloseWait} {
		t.Run(kind.String(), func(t *testing.T) {
			actiontest.Run(t, nodelay(), actiontest.Cases{
				Good: []map[string]any{nil},
				Make: func(t testing.TB) *actiontest.Subject {
					return &actiontest.HeldIn(t, kind, socklab.HolderOptions{}).Shows(noDelay).Subject
				},
			})
		})
	}
}

// New settings are reported, existing ones are left alone, and a reset by the owner is
// noticed.
func TestSetter(t *testing.T) {
	actiontest.LeakCheck(t)
	c := socklab.Make(t, socklab.Established, socklab.IPv4)
	b, err := func() (*actions.Bound, error) { p := nodelay(); return p.Bind(nil) }()
	if err != nil {
		t.Fatal(err)
	}
	target := actions.Target{Rule: "test", Sockets: []actions.Sealed{actiontest.Sealed(t, c)}}
	set := func(v int) {
		if err := unix.SetsockoptInt(c.FD, unix.IPPROTO_TCP, unix.TCP_NODELAY, v); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []actions.Outcome{
		{Result: actions.Repaired, Detail: "before: nodelay 0"},
		{Result: actions.Unchanged, Detail: "nodelay 1"},
	} {
		e, err := b.Action.Prepare(t.Context(), target)
		if err != nil {
			t.Fatal(err)
		}
		if e.String() != "nodelay" {
			t.Errorf("the effect is %q", e)
		}
		if out, again := e.Apply(t.Context()), e.Verify(t.Context()); out != want || again != want {
			t.Errorf("Apply: %+v, Verify: %+v, want %+v", out, again, want)
		}
		set(0)
		if out := e.Verify(t.Context()); out.Result != actions.Refused || out.Detail != "its owner has set it again: nodelay 0" {
			t.Errorf("set back: %+v", out)
		}
		set(1)
	}
}

// The action is only for connections in its states.
func TestSetterStates(t *testing.T) {
	actiontest.LeakCheck(t)
	p := nodelay()
	b, err := p.Bind(nil)
	if err != nil {
		t.Fatal(err)
	}
	for kind, why := range map[socklab.Kind]string{
		socklab.FinWait2: "nodelay is for connections, not for FIN_WAIT2", socklab.Listen: "nodelay is for connections, not for LISTEN",
		socklab.UDPConnected: "nodelay is for TCP", socklab.CloseWait: "",
	} {
		target := actions.Target{Sockets: []actions.Sealed{actiontest.Sealed(t, socklab.Make(t, kind, socklab.IPv4))}}
		e, err := b.Action.Prepare(t.Context(), target)
		if (err == nil) != (why == "") || (e == nil) != (why != "") || err != nil && !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v, %v", kind, e, err)
		}
	}
}
