package engine

import (
	"os"
	"slices"
	"testing"

	"sockwarden/collectors"
	"sockwarden/collectors/procnet"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/look"
)

// A census counts every socket in its state, gives connections to the listener that they
// came in by, whatever their family, and knows who listens. It agrees with a census by
// /proc/net, which has no cookies and no owners of its own.
func TestCensus(t *testing.T) {
	l := newLab(t, Options{})
	count := func(sources ...collectors.Plugin) *Census {
		t.Helper()
		c, err := NewCounter(Options{Sources: sources, World: l.world, Logger: l.journal.logger()}, false)
		must(t, "counter", err)
		defer c.Close()
		n, err := c.Count(t.Context(), nil, nil)
		must(t, "count", err)
		if len(n.Errors) > 0 {
			t.Fatalf("%v", n.Errors)
		}
		return n
	}
	before := count(sockdiag.Plugin())
	made := map[uint16]look.ByState{}
	for _, f := range socklab.Families() {
		listener := socklab.NewListener(t, f, 0)
		port := listener.Addr.Port()
		want := look.ByState{collectors.Listen: 1}
		for _, k := range []socklab.Kind{
			socklab.Established, socklab.CloseWait, socklab.CloseWait, socklab.FinWait2Orphan, socklab.TimeWait, socklab.CloseWaitUnaccepted,
		} {
			c := listener.Make(t, k)
			want[c.Kind.State()]++
		}
		made[port] = want
	}
	socklab.Make(t, socklab.UDPConnected, socklab.IPv4)
	for _, source := range []collectors.Plugin{sockdiag.Plugin(), procnet.Plugin()} {
		after := count(source)
		all := after.Sockets[collectors.TCP]
		for s, n := range before.Sockets[collectors.TCP] {
			all[s] -= n
		}
		sum := look.ByState{}
		for port, want := range made {
			got := look.ByState{}
			for _, one := range after.Listeners {
				if one.Port != port {
					continue
				}
				got.Add(&one.ByState)
				if len(one.Owners) != 1 || one.Owners[0].PID != os.Getpid() {
					t.Errorf("%s: port %d belongs to %v", source.Name, port, one.Owners)
				}
			}
			if got != want {
				t.Errorf("%s: port %d has %v, not %v", source.Name, port, got, want)
			}
			sum.Add(&want)
		}
		for _, s := range []collectors.State{collectors.CloseWait, collectors.TimeWait, collectors.Listen} {
			if all[s] != sum[s] {
				t.Errorf("%s: %d more in %s, not %d", source.Name, all[s], s, sum[s])
			}
		}
		if n := after.Sockets[collectors.UDP][collectors.Established] - before.Sockets[collectors.UDP][collectors.Established]; n != 1 {
			t.Errorf("%s: %d more connected UDP sockets", source.Name, n)
		}
	}
}

// A census finds who holds the sockets that it is asked about, and how near that process
// is to its limit of descriptors; and it counts where the rules look.
func TestCensusElsewhere(t *testing.T) {
	l := newLab(t, Options{})
	_, other := there(t, socklab.CloseWait)
	c, err := NewCounter(Options{Sources: []collectors.Plugin{sockdiag.Plugin()}, World: l.world, Logger: l.journal.logger()}, true)
	must(t, "counter", err)
	defer c.Close()
	host, err := c.Count(t.Context(), nil, nil)
	must(t, "count", err)
	everywhere, err := c.Count(t.Context(), []string{"all"}, inodes(t, socklab.Peer(t), other))
	must(t, "count", err)
	if got := everywhere.Sockets[collectors.TCP][collectors.CloseWait] - host.Sockets[collectors.TCP][collectors.CloseWait]; got != 1 {
		t.Errorf("%d sockets more in CLOSE_WAIT in all namespaces", got)
	}
	i := slices.IndexFunc(everywhere.Processes, func(o collectors.Owner) bool { return o.PID != os.Getpid() })
	if i < 0 {
		t.Fatalf("the holder is not among %v", everywhere.Processes)
	}
	if o := everywhere.Processes[i]; !o.Known.Has(collectors.FieldFDs) || o.FDs == 0 || !o.Known.Has(collectors.FieldFDLimit) || o.FDLimit == 0 {
		t.Errorf("%+v", o)
	}
}

// inodes is the inode of a connection, found where it is.
func inodes(t *testing.T, n *socklab.Namespace, c *socklab.Conn) map[uint32]bool {
	t.Helper()
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.AllStates}
	for s, err := range sockdiag.Plugin().New(n.FD()).Collect(t.Context(), q) {
		must(t, "dump", err)
		if l, r := ends(s); l == c.Local && r == c.Remote {
			return map[uint32]bool{s.Inode: true}
		}
	}
	t.Fatalf("no socket %v", c)
	return nil
}
