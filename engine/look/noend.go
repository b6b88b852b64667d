package look

import (
	"context"

	"sockwarden/collectors"
	"sockwarden/engine/world"
)

// If no socket has the ends of a connection exchanged, that does not prove that the other
// end is elsewhere: NAT (a published port, a Kubernetes Service, REDIRECT) gives the two
// sockets of a connection different addresses; a socket bound to a device answers no exact
// look-up; a transparent proxy has an address that is nobody's. So we compare the
// connections that are left with all connections of the host.
//
// NAT that changes one address leaves the other end with half of the tuple. NAT that
// changes both (DNAT with masquerading) leaves nothing in common, but the address that the
// other side then sees is one of this host's.

// connected are the states of sockets that are ends of a connection.
var connected = collectors.Mask(collectors.Established, collectors.SynSent, collectors.SynRecv, collectors.FinWait1, collectors.FinWait2,
	collectors.TimeWait, collectors.CloseWait, collectors.LastAck, collectors.Closing)

// hostPort is one end of a connection: address and port.
type hostPort struct {
	addr collectors.Addr
	port uint16
}

// nat compares connections without a known other end with all connections.
type nat struct {
	ends   ends
	remote map[hostPort][]*Candidate // by their remote ends
	local  map[hostPort][]*Candidate // by their local ends
}

// exclude decides for each connection whose other end we did not find whether this host
// certainly has none.
func (e ends) exclude(ctx context.Context, k *Looker, c *Picture, left []*Candidate) {
	n := nat{e, map[hostPort][]*Candidate{}, map[hostPort][]*Candidate{}}
	namespaces := map[uint64]*Namespace{}
	abroad := false
	for _, cand := range left {
		if e[cand].unseen {
			continue
		}
		s := &cand.Socket
		local, remote := hostPort{s.Local, s.LocalPort}, hostPort{s.Remote, s.RemotePort}
		n.local[local], n.remote[remote] = append(n.local[local], cand), append(n.remote[remote], cand)
		namespaces[cand.NS.Inode] = cand.NS
		abroad = abroad || !staysInside(cand)
	}
	if abroad {
		for _, ns := range c.everywhere {
			if namespaces[ns.Inode] == nil {
				namespaces[ns.Inode] = ns
			}
		}
	}
	for _, ns := range namespaces {
		n.compare(ctx, k, ns, abroad)
	}
	for _, cands := range n.remote {
		for _, cand := range cands {
			if staysInside(cand) {
				k.loadListeners(ctx, c, cand.NS)
			}
			end := e[cand]
			end.none = !end.unseen && !end.hidden && (!staysInside(cand) || cameIn(cand))
		}
	}
}

// compare reads the connections of a namespace, and its addresses.
func (n *nat) compare(ctx context.Context, k *Looker, ns *Namespace, abroad bool) {
	err := k.Dumps.connections(ctx, ns, func(s *collectors.Socket) { n.compareWith(ns, s) })
	if err == nil && abroad {
		err = k.addressesOf(ns, 0).err
	}
	failed := err != nil && !hasEnded(&ns.Namespace, err)
	for remote, cands := range n.remote {
		for _, cand := range cands {
			switch end := n.ends[cand]; {
			case !mayEndIn(cand, &ns.Namespace):
			case failed:
				end.unseen = true
			case !staysInside(cand) && ns.addresses.has(remote.addr):
				end.hidden = true
			}
		}
	}
}

// mayEndIn reports whether the other end can be in a namespace.
func mayEndIn(c *Candidate, ns *world.Namespace) bool {
	return !staysInside(c) || c.NS.Inode == ns.Inode
}

// compareWith notes for which candidates a socket can be the other end.
func (n *nat) compareWith(ns *Namespace, s *collectors.Socket) {
	local, remote := hostPort{s.Local, s.LocalPort}, hostPort{s.Remote, s.RemotePort}
	for _, cand := range n.remote[local] {
		switch {
		case !mayEndIn(cand, &ns.Namespace):
		case remote == hostPort{cand.Socket.Local, cand.Socket.LocalPort}:
			n.ends[cand].add(&ns.Namespace, s)
		default:
			n.ends[cand].hidden = true
		}
	}
	for _, cand := range n.local[remote] {
		// Other clients of a server are no other ends of a connection that came in there;
		// that of loopback is told by whether one did.
		if !staysInside(cand) && local != (hostPort{cand.Socket.Remote, cand.Socket.RemotePort}) {
			n.ends[cand].hidden = true
		}
	}
}

// cameIn reports whether a listener of the namespace is where the connection came in.
func cameIn(c *Candidate) bool {
	for i := range c.NS.listeners {
		if listensFor(&c.NS.listeners[i], &c.Socket) {
			return true
		}
	}
	return false
}

// connections calls use with every connection of a namespace.
func (d *dumps) connections(ctx context.Context, ns *Namespace, use func(*collectors.Socket)) error {
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: connected}
	var err error
	for _, source := range d.sources {
		if shut := d.Hangs.shut(ns); shut != nil && source.Actionable {
			err = shut
			continue
		}
		err = nil
		for s, failed := range d.collectPast(ctx, ns, source, q) {
			if err = failed; err != nil {
				break
			}
			use(s)
		}
		if err == nil {
			return nil
		}
	}
	return err
}
