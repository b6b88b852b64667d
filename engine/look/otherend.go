package look

import (
	"context"
	"errors"
	"slices"

	"sockwarden/collectors"
	"sockwarden/engine/world"
)

// ends are the other ends of the candidates' connections.
type ends map[*Candidate]*otherEnd

// otherEnd is what we found about the other end of a connection.
type otherEnd struct {
	found []foundEnd
	// unseen says that there is a place where we could not look, hidden that NAT may be why
	// we found nothing, and none that this host does not have the other end.
	unseen, hidden, none bool
}

// foundEnd is a socket that has the ends of a connection exchanged.
type foundEnd struct {
	netns  uint64 // inode of the namespace
	cookie uint64
	inode  uint32
}

// findEnds looks for the other ends of the candidates' connections, if a condition reads
// them: first in their own namespaces, then, for connections that leave one, in all others.
// exclude finds those without an address of this host, and those bound to a device.
func (k *Looker) findEnds(ctx context.Context, c *Picture) ends {
	if !c.Plan.Reads.Meets(collectors.PeerFields()) {
		return nil
	}
	e := ends{}
	var all []*Candidate
	for _, cand := range c.Candidates {
		s := &cand.Socket
		switch {
		case s.Protocol != collectors.TCP:
		case s.State == collectors.Listen, s.RemotePort == 0:
			e[cand] = &otherEnd{none: true}
		default:
			e[cand] = &otherEnd{}
			all = append(all, cand)
		}
	}
	own := map[*Namespace][]*Candidate{}
	for _, cand := range all {
		own[cand.NS] = append(own[cand.NS], cand)
	}
	for ns, cands := range own {
		e.lookInto(ctx, k.world, &ns.Namespace, cands)
	}
	abroad := slices.DeleteFunc(e.missing(all), staysInside)
	if len(abroad) > 0 {
		e.lookAbroad(ctx, k, c, abroad)
	}
	e.exclude(ctx, k, c, e.missing(all))
	return e
}

// staysInside reports whether the connection is within its namespace.
func staysInside(c *Candidate) bool { return c.Socket.Remote.Netip().IsLoopback() }

// missing returns the candidates whose other end we did not find.
func (e ends) missing(cands []*Candidate) (left []*Candidate) {
	for _, cand := range cands {
		if len(e[cand].found) == 0 {
			left = append(left, cand)
		}
	}
	return left
}

// lookInto looks for the other ends in one namespace, for all of them by one netlink socket.
func (e ends) lookInto(ctx context.Context, w *world.World, ns *world.Namespace, cands []*Candidate) {
	socks := make([]*collectors.Socket, len(cands))
	for i, cand := range cands {
		socks[i] = &cand.Socket
	}
	found, errs, err := w.Sockets.OtherEnds(ctx, ns, socks)
	if hasEnded(ns, err) {
		return
	}
	for i, cand := range cands {
		end := e[cand]
		switch {
		case err != nil:
			end.unseen = true
		case errs[i] == nil:
			end.add(ns, &found[i])
		case !errors.Is(errs[i], collectors.ErrGone):
			end.unseen = true
		}
	}
}

func (o *otherEnd) add(ns *world.Namespace, s *collectors.Socket) {
	one := foundEnd{ns.Inode, s.Cookie, s.Inode}
	if !slices.Contains(o.found, one) {
		o.found = append(o.found, one)
	}
}

// lookAbroad looks in other namespaces for the missing ends: in each for those that have one
// of its addresses.
func (e ends) lookAbroad(ctx context.Context, k *Looker, c *Picture, cands []*Candidate) {
	all, err := k.world.Namespaces.Every()
	for i := range all {
		ns := &Namespace{Namespace: all[i]}
		c.everywhere = append(c.everywhere, ns)
		if k.addressesOf(ns, 0).err != nil {
			continue // exclude notes it for those that turn up nowhere else
		}
		others := slices.DeleteFunc(slices.Clone(cands), func(cand *Candidate) bool {
			return cand.NS.Inode == ns.Inode || !ns.addresses.has(cand.Socket.Remote)
		})
		if len(others) > 0 {
			e.lookInto(ctx, k.world, &ns.Namespace, others)
		}
	}
	for _, cand := range cands {
		e[cand].unseen = e[cand].unseen || err != nil
	}
	if err != nil {
		k.log.Debug("other ends of connections may be where nobody can look", "error", err)
	}
}

// inodes adds the sockets whose holders we need.
func (e ends) inodes(wanted map[uint32]bool) {
	for _, end := range e {
		if len(end.found) == 1 && end.found[0].inode != 0 {
			wanted[end.found[0].inode] = true
		}
	}
}

// setPeers notes who has the other ends.
func (e ends) setPeers(w *world.World, holders *world.Ownership, hides map[*Namespace]string) {
	cover := w.Owners.Coverage()
	anywhere := cover.HidePID != "" || cover.Inside || len(holders.Unreadable) > 0
	for cand, end := range e {
		f := &cand.Facts
		switch {
		case len(end.found) == 0 && end.none, len(end.found) == 1 && end.found[0].inode == 0:
			f.Known.Add(collectors.PeerFields())
		case len(end.found) == 1:
			one := &end.found[0]
			unseen := anywhere
			if one.netns == cand.NS.Inode {
				unseen = hides[cand.NS] != ""
			}
			if owners := holders.ByInode[one.inode]; !unseen || holders.Proven[one.inode] {
				setPeers(f, owners)
			}
		}
	}
}

// setPeers notes the processes that hold the other end: if there are several, what they
// have in common.
func setPeers(f *collectors.Facts, owners []collectors.Owner) {
	if len(owners) == 0 {
		return // on the way from one process to another
	}
	f.Peers = owners
	if len(owners) == 1 {
		f.Known.Add(collectors.Fields(collectors.FieldPeerPID))
	}
	if !slices.ContainsFunc(owners, func(o collectors.Owner) bool { return o.Name != owners[0].Name }) {
		f.Known.Add(collectors.Fields(collectors.FieldPeerProcess))
	}
}

// setPeerContainer notes the container of the other end, once the container has its name.
func setPeerContainer(f *collectors.Facts) {
	differs := func(o collectors.Owner) bool {
		first := &f.Peers[0]
		return !o.Known.Has(collectors.FieldContainer) || o.ContainerName != first.ContainerName || o.Container != first.Container
	}
	if len(f.Peers) > 0 && !slices.ContainsFunc(f.Peers, differs) {
		f.Known.Add(collectors.Fields(collectors.FieldPeerContainer))
	}
}
