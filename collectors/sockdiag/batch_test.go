package sockdiag

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"sockwarden/collectors"
	"sockwarden/collectors/socklab"
)

// labSockets returns one socket of each kind and family, as the kernel shows it.
func labSockets(t testing.TB, c *Conn) []*collectors.Socket {
	t.Helper()
	var all []*collectors.Socket
	for _, k := range socklab.Kinds() {
		for _, f := range socklab.Families() {
			subject := socklab.Make(t, k, f)
			if hidden(t, c, subject) {
				continue
			}
			s := find(t, c, subject)
			all = append(all, &s)
		}
	}
	return all
}

// Looking up many at a time finds the same as one by one, whatever the state and the
// family, and says which are missing.
func TestGetAll(t *testing.T) {
	c := dialTest(t, -1)
	var asked []*collectors.Socket
	for len(asked) < 3*batchLen {
		for _, s := range labSockets(t, c) {
			other := *s
			other.Cookie ^= 1 << 60
			asked = append(asked, s, &other)
		}
	}
	now, errs := c.GetAll(t.Context(), asked)
	found := 0
	for i, s := range asked {
		one, err := c.Get(t.Context(), s)
		nobody := i%2 == 1
		switch {
		case nobody && errors.Is(errs[i], collectors.ErrGone):
		case !nobody && errors.Is(err, collectors.ErrGone): // a short-lived state has ended
		case err != nil || errs[i] != nil:
			t.Errorf("%s %x: %v, one by one %v", s.State, s.Cookie, errs[i], err)
		case collectors.KeyOf(&now[i]) != collectors.KeyOf(&one) || now[i].Known != one.Known || now[i].Inode != one.Inode:
			t.Errorf("%s %x: %+v, one by one %+v", s.State, s.Cookie, now[i], one)
		default:
			found++
		}
	}
	if found < len(asked)/3 {
		t.Errorf("%d found of %d that were there", found, len(asked)/2)
	}
}

// Many sockets are destroyed at a time; each that is not comes with its own reason.
func TestDestroyAll(t *testing.T) {
	c := dialTest(t, -1)
	conns := socklab.Many(t, socklab.CloseWait, socklab.IPv4, 3*batchLen+7)
	type pair struct{ local, remote netip.AddrPort }
	hung := func() map[pair]*collectors.Socket {
		all := map[pair]*collectors.Socket{}
		for _, s := range dumpTest(t, c, everything) {
			if local, remote := ends(&s); s.State == collectors.CloseWait {
				all[pair{local, remote}] = &s
			}
		}
		return all
	}
	before := hung()
	var asked []*collectors.Socket
	wants := map[int]error{}
	for i, conn := range conns {
		s := before[pair{conn.Local, conn.Remote}]
		switch {
		case s == nil:
			t.Fatalf("%s is not shown", conn.Local)
		case i%10 == 3:
			s.Cookie++
			wants[i] = collectors.ErrGone
		case i%10 == 7:
			s.Cookie = 0
			wants[i] = errNoCookie
		}
		asked = append(asked, s)
	}
	for i, err := range c.DestroyAll(t.Context(), asked) {
		if !errors.Is(err, wants[i]) {
			t.Errorf("%d: %v, want %v", i, err, wants[i])
		}
	}
	left := hung()
	for i, conn := range conns {
		if got := left[pair{conn.Local, conn.Remote}] != nil; got != (wants[i] != nil) {
			t.Errorf("%d is there: %t", i, got)
		}
	}
}

// If the connection is in use for a dump, or the context ends, each socket gets an error.
func TestBatchRefused(t *testing.T) {
	c := dialTest(t, -1)
	s := find(t, c, socklab.Make(t, socklab.CloseWait, socklab.IPv4))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	check := func(want error, errs []error) {
		t.Helper()
		if len(errs) != 2 || !errors.Is(errs[0], want) || !errors.Is(errs[1], want) {
			t.Errorf("%v", errs)
		}
	}
	two := []*collectors.Socket{&s, &s}
	_, errs := c.GetAll(ctx, two)
	check(context.Canceled, errs)
	check(context.Canceled, c.DestroyAll(ctx, two))
	for range c.Dump(t.Context(), everything) {
		break
	}
	_, errs = c.GetAll(t.Context(), two)
	check(errBusy, errs)
	check(errBusy, c.DestroyAll(t.Context(), two))
}

// BenchmarkGet compares looking up sockets one by one and in batches.
func BenchmarkGet(b *testing.B) {
	c := dialTest(b, -1)
	socklab.Many(b, socklab.CloseWait, socklab.IPv4, 1000)
	var all []*collectors.Socket
	for _, s := range dumpTest(b, c, everything) {
		if s.State == collectors.CloseWait {
			all = append(all, &s)
		}
	}
	b.Run(fmt.Sprintf("one by one/%d", len(all)), func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			for _, s := range all {
				if _, err := c.Get(b.Context(), s); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
	b.Run(fmt.Sprintf("batches/%d", len(all)), func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, errs := c.GetAll(b.Context(), all); errors.Join(errs...) != nil {
				b.Fatal(errors.Join(errs...))
			}
		}
	})
}
