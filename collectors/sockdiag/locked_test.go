package sockdiag

import (
	"errors"
	"testing"
	"time"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
	"sockwarden/collectors/stuck"
)

// One of several sockets is locked. Its look-up is left behind and the error names it;
// earlier sockets are answered, and later ones were not asked about.
func TestGetAllPastLock(t *testing.T) {
	if socklab.ApartToLock(t) {
		return
	}
	var conns []*socklab.Conn
	var socks []*collectors.Socket
	for range 3 {
		c := socklab.Make(t, socklab.Established, socklab.IPv4)
		s := find(t, dialTest(t, -1), c)
		conns, socks = append(conns, c), append(socks, &s)
	}
	rogue := socklab.Lock(t, conns[1])
	c := dialTest(t, -1)
	now, errs := c.GetAll(t.Context(), socks)
	if !rogue.Running() {
		t.Error("it took as long as the lock")
	}
	if errs[0] != nil || now[0].Cookie != socks[0].Cookie || now[0].Info.Len == 0 {
		t.Errorf("before it: %v, %x", errs[0], now[0].Cookie)
	}
	if stuck.In(errs[1]) == nil || errors.Is(errs[1], ErrNotAsked) {
		t.Errorf("of the locked one: %v", errs[1])
	}
	if !errors.Is(errs[2], ErrNotAsked) {
		t.Errorf("behind it: %v", errs[2])
	}
	if _, err := c.Get(t.Context(), socks[0]); !errors.Is(err, ErrNotAsked) {
		t.Errorf("the connection is used again: %v", err)
	}
	there, err := dialTest(t, -1).Exists(t.Context(), socks[1])
	if socklab.KernelBefore(6, 9) {
		if stuck.In(err) == nil {
			t.Errorf("a request does not wait for the one that hangs: %t, %v", there, err)
		}
	} else if err != nil || !there {
		t.Errorf("the locked one exists: %t, %v", there, err)
	}
	rogue.Kill(t)
	select {
	case <-stuck.In(errs[1]).Done():
	case <-time.After(2 * time.Minute):
		t.Error("it does not return though the lock is free")
	}
}

// A request to destroy that waits for a lock is carried out once the lock is free, no
// sooner, and so are the requests after it.
func TestDestroyAllPastLock(t *testing.T) {
	if socklab.ApartToLock(t) {
		return
	}
	var conns []*socklab.Conn
	var socks []*collectors.Socket
	for range 3 {
		c := socklab.Make(t, socklab.Established, socklab.IPv4)
		s := find(t, dialTest(t, -1), c)
		conns, socks = append(conns, c), append(socks, &s)
	}
	rogue := socklab.Lock(t, conns[1])
	errs := dialTest(t, -1).DestroyAll(t.Context(), socks)
	look := dialTest(t, -1)
	for i, want := range []bool{false, true, true} {
		if stuck.In(errs[i]) == nil || errors.Is(errs[i], ErrNotAsked) {
			t.Errorf("socket %d: %v", i, errs[i])
		}
		if _, there := conns[i].Now(); there != want {
			t.Errorf("socket %d is there: %t", i, there)
		}
		if socklab.KernelBefore(6, 9) { // requests wait for the one that hangs
			continue
		}
		if there, err := look.Exists(t.Context(), socks[i]); err != nil || there != want {
			t.Errorf("socket %d is there: %t, %v", i, there, err)
		}
	}
	rogue.Kill(t)
	socklab.WaitFor(t, "the kernel to go on", func() bool {
		there, err := look.Exists(t.Context(), socks[2])
		return err == nil && !there
	})
}
