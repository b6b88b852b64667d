package destroy

import (
	"fmt"
	"strings"
	"testing"

	"sockwarden/actions"
	"sockwarden/actions/actiontest"
	"sockwarden/collectors/socklab"
)

// Several sockets are destroyed together, and one of them is locked. Those that are gone
// are reported as gone; for the others the result says that the kernel has the request,
// which never climbs. Before Linux 6.9 the kernel shows nothing while it hangs, and each
// socket is asked about only once.
func TestLockedWhenDestroyed(t *testing.T) {
	if !socklab.KernelBefore(6, 9) {
		t.Parallel()
	}
	for _, session := range []bool{false, true} {
		t.Run(fmt.Sprintf("session %t", session), func(t *testing.T) {
			if !socklab.ApartToLock(t) {
				lockedWhenDestroyed(t, session)
			}
		})
	}
}

func lockedWhenDestroyed(t *testing.T, session bool) {
	var conns []*socklab.Conn
	var targets []actions.Target
	for range 3 {
		c := socklab.Make(t, socklab.Established, socklab.IPv4)
		conns, targets = append(conns, c), append(targets, actions.Target{Rule: "test", Sockets: []actions.Sealed{actiontest.Sealed(t, c)}})
	}
	a, err := Plugin().New(nil)
	must(t, "New", err)
	batcher, ok := a.(actions.Batcher)
	if !ok {
		t.Fatal("it is not for many")
	}
	if session {
		var closes func()
		batcher, closes = a.(actions.Sessions).Session()
		defer closes()
	}
	var effects []actions.Effect
	for _, p := range batcher.PrepareAll(t.Context(), targets) {
		must(t, "PrepareAll", p.Err)
		effects = append(effects, p.Effect)
	}
	rogue := socklab.Lock(t, conns[1])
	first := actions.Gone
	if socklab.KernelBefore(6, 9) {
		first = actions.Timeout
	}
	for i, out := range batcher.ApplyAll(t.Context(), effects) {
		want := []actions.Result{first, actions.Timeout, actions.Timeout}[i]
		if out.Result != want || out.Result.Climbs() || strings.Contains(out.Detail, "cannot be seen") != socklab.KernelBefore(6, 9) {
			t.Errorf("socket %d: %+v, want %s", i, out, want)
		}
		if _, there := conns[i].Now(); there != (i > 0) {
			t.Errorf("socket %d is there: %t", i, there)
		}
	}
	if !rogue.Running() {
		t.Error("it took as long as the lock")
	}
	// A fresh look before destroying it fails, so nobody even tries.
	if _, err := a.Prepare(t.Context(), targets[1]); actions.OutcomeOf(err).Result != actions.Timeout {
		t.Errorf("Prepare: %v", err)
	}
	rogue.Kill(t)
}
