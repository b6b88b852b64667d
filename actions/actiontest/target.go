package actiontest

import (
	"net/netip"
	"os"
	"runtime/debug"
	"testing"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/socklab"
)

// LeakCheck is socklab.LeakCheck without the garbage collector, which would close
// forgotten files before the check sees them.
func LeakCheck(t testing.TB) {
	t.Helper()
	percent := debug.SetGCPercent(-1)
	t.Cleanup(func() { debug.SetGCPercent(percent) })
	socklab.LeakCheck(t)
}

// Sealed returns a socket of this namespace as the engine passes it to an action: with
// its cookie and the processes that hold it.
func Sealed(t testing.TB, c *socklab.Conn) actions.Sealed {
	t.Helper()
	return Seal(t, c.Kind.Protocol(), c.Local, c.Remote, nil)
}

// Hidden reports whether the kernel shows no sockets of that kind, and fails the test if
// it does show one after all.
func Hidden(t testing.TB, c *socklab.Conn) bool {
	t.Helper()
	if c.Kind.Shown() {
		return false
	}
	for _, s := range SealAll(t, c.Kind.Protocol(), nil) {
		if k := &s.Socket; netip.AddrPortFrom(k.Local.Netip(), k.LocalPort) == c.Local && k.RemotePort == c.Remote.Port() {
			t.Errorf("%+v is shown, which this kernel should not", *k)
		}
	}
	return true
}

// Seal does the same for any socket, in the namespace that open opens; nil means our own.
func Seal(t testing.TB, p collectors.Protocol, local, remote netip.AddrPort, open func() (*os.File, error)) actions.Sealed {
	t.Helper()
	for _, s := range SealAll(t, p, open) {
		k := &s.Socket
		if netip.AddrPortFrom(k.Local.Netip(), k.LocalPort) == local && netip.AddrPortFrom(k.Remote.Netip(), k.RemotePort) == remote {
			return s
		}
	}
	t.Fatalf("no %s socket %s %s", p, local, remote)
	return actions.Sealed{}
}

// SealAll returns all sockets of a protocol in a namespace.
func SealAll(t testing.TB, p collectors.Protocol, open func() (*os.File, error)) []actions.Sealed {
	t.Helper()
	socklab.Need(t)
	fd, name := -1, "host"
	if open != nil {
		f, err := open()
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close() //nolint:errcheck // nothing was written
		fd, name = int(f.Fd()), "other"
	}
	q := collectors.Query{Protocols: []collectors.Protocol{p}, States: collectors.AllStates, Fields: collectors.InfoFields()}
	var all []actions.Sealed
	inodes := map[uint32]bool{}
	for s, err := range sockdiag.Plugin().New(fd).Collect(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		inodes[s.Inode] = s.Inode != 0
		all = append(all, actions.Sealed{
			Socket: *s, Namespace: collectors.Namespace{Name: name}, Facts: collectors.Facts{Age: collectors.NoAge()}, Open: open,
		})
	}
	h, err := procfs.New("").Holders(t.Context(), inodes)
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		all[i].Facts.Owners = h.ByInode[all[i].Socket.Inode]
	}
	return all
}
