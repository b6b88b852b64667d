package look

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/world"
)

// The listeners of MPTCP are among those of TCP: each has one below it, with the same inode.

// findListeners fills in direction and listener_process where conditions read them, and
// finds the listeners of sockets that wait for accept.
func (k *Looker) findListeners(ctx context.Context, c *Picture) {
	reads := c.Plan.Reads.Meets(collectors.ListenerFields())
	for _, cand := range c.Candidates {
		if !reads && !Waits(&cand.Socket) {
			continue
		}
		k.loadListeners(ctx, c, cand.NS)
		setDirection(cand)
		k.tell(cand)
	}
}

func (k *Looker) loadListeners(ctx context.Context, c *Picture, ns *Namespace) {
	if ns.asked {
		return
	}
	ns.asked = true
	ports, err := k.world.Network.Ports(&ns.Namespace)
	if err != nil {
		k.log.Debug("ephemeral ports unknown", "netns", ns.Name, "error", err)
	}
	ns.acceptsVRF, ns.PortLow, ns.PortHigh = ports.AcceptsVRF, ports.Low, ports.High
	for _, source := range k.Dumps.sources {
		if source.Actionable && k.Dumps.Hangs.shut(ns) != nil {
			continue
		}
		var found []collectors.Socket
		if found, err = k.Dumps.listenersBy(ctx, ns, source); err == nil {
			ns.listeners, ns.listening = found, true
			if slices.ContainsFunc(found, func(l collectors.Socket) bool { return l.IfIndex != 0 }) {
				k.Dumps.nameInterfaces(ns)
			}
			return
		}
	}
	c.lacks(ns, err, fmt.Errorf("listeners of namespace %s: %w", ns.Name, err))
}

func (d *dumps) listenersBy(ctx context.Context, ns *Namespace, source collectors.Plugin) (all []collectors.Socket, err error) {
	q := collectors.Query{Protocols: []collectors.Protocol{collectors.TCP}, States: collectors.Mask(collectors.Listen)}
	for s, err := range d.collectPast(ctx, ns, source, q) {
		if err != nil {
			return nil, err
		}
		all = append(all, *s)
	}
	return all, nil
}

// listensFor reports whether a connection can have come in through the listener, by its
// port, family and address. An IPv4 connection that a dual-stack socket has accepted
// has family IPv6, with mapped addresses.
func listensFor(l, s *collectors.Socket) bool {
	switch {
	case l.LocalPort != s.LocalPort || l.Family != s.Family:
		return false
	case l.Local == s.Local:
		return true
	case l.Family == collectors.IPv4:
		return l.Local.IsZero()
	case s.Local.Netip().Is4():
		return l.Local.IsZero() && !l.V6Only
	}
	return l.Local == collectors.Addr{} // and not ::ffff:0.0.0.0, which is all of IPv4
}

// onDevice reports whether a connection can have come in through the listener, by its
// device: a connection is bound to the device of its listener. If the listener is bound
// to none, the connection is still bound if its peer has a link-local address, or if it
// came in through a VRF and net.ipv4.tcp_l3mdev_accept is set.
func onDevice(l, s *collectors.Socket, ns *Namespace) bool {
	switch {
	case l.IfIndex == s.IfIndex, l.IfIndex == collectors.UnknownIfIndex, s.IfIndex == collectors.UnknownIfIndex:
		return true
	case l.IfIndex != 0:
		return false
	}
	return ns.acceptsVRF || s.Remote.Netip().IsLinkLocalUnicast()
}

// listenersOf returns every listener that a connection can have come in through; for a
// listener that is the listener itself. The kernel does not tell which of several it was:
// SO_REUSEPORT spreads connections over all of them, and the listener on the exact address
// can be younger than a connection that came in through the one on all addresses.
func listenersOf(cand *Candidate) []*collectors.Socket {
	s := &cand.Socket
	if s.State == collectors.Listen {
		return []*collectors.Socket{s}
	}
	var fit []*collectors.Socket
	for i := range cand.NS.listeners {
		if l := &cand.NS.listeners[i]; listensFor(l, s) && onDevice(l, s, cand.NS) {
			fit = append(fit, l)
		}
	}
	return fit
}

func setDirection(cand *Candidate) {
	s := &cand.Socket
	if !s.Protocol.Connects() || s.State == collectors.Listen || s.RemotePort == 0 || !cand.NS.listening {
		return
	}
	switch {
	case slices.ContainsFunc(cand.NS.listeners, func(l collectors.Socket) bool { return listensFor(&l, s) }):
		cand.Facts.Direction = "inbound"
	case cand.NS.PortHigh > 0 && s.LocalPort >= cand.NS.PortLow && s.LocalPort <= cand.NS.PortHigh:
		cand.Facts.Direction = "outbound"
	default:
		return
	}
	cand.Facts.Known.Add(collectors.Fields(collectors.FieldDirection))
}

// Waits reports whether a connection belongs only to a listener so far: it waits for
// accept, or its handshake is under way.
func Waits(s *collectors.Socket) bool {
	return collectors.Unaccepted(s) || s.Protocol.Connects() && s.State == collectors.SynRecv
}

// listenersWanted returns the listeners of a candidate whose processes a condition or a
// guard reads.
func listenersWanted(c *Picture, cand *Candidate) []*collectors.Socket {
	if !cand.Socket.Protocol.Connects() || !c.Plan.Reads.Has(collectors.FieldListenerProcess) && !Waits(&cand.Socket) {
		return nil
	}
	return listenersOf(cand)
}

// setListener notes which process owns the candidate's listeners. One process stands for
// all of them: a guarded one if there is any, and none if some listener has no known owner.
func (k *Looker) setListener(c *Picture, cand *Candidate, holders *world.Ownership) {
	f := &cand.Facts
	wanted := listenersWanted(c, cand)
	if len(wanted) == 0 {
		if c.Plan.Reads.Has(collectors.FieldListenerProcess) && cand.NS.listening {
			f.Known.Add(collectors.Fields(collectors.FieldListenerProcess)) // "": nobody listens
		}
		return
	}
	var all []collectors.Owner
	everyone := true
	for _, l := range wanted {
		owners := holders.ByInode[l.Inode]
		everyone = everyone && len(owners) > 0
		all = append(all, owners...)
		if collectors.Unaccepted(&cand.Socket) && mayQueue(l) {
			cand.Listeners = append(cand.Listeners, actions.Listener{Socket: *l, Owners: owners})
		}
	}
	if len(all) == 0 {
		return
	}
	o := k.Kept.speaker(all)
	if !everyone && k.Kept.GuardOwner(o) == "" {
		return
	}
	f.ListenerOwner, cand.listenersUnseen = o, !everyone
	if everyone && !slices.ContainsFunc(all, func(other collectors.Owner) bool { return other.Name != o.Name }) {
		f.Known.Add(collectors.Fields(collectors.FieldListenerProcess))
	}
}

// Listener names the listener that a socket belongs to, as people write it: where it
// listens, and on which device. Sockets that share their port by SO_REUSEPORT have one
// name. It is "" if nobody listens, and unknown if listeners with several names fit, or if
// we could not look for listeners.
func (c *Candidate) Listener() (name string, known bool) {
	if !c.Socket.Protocol.Connects() {
		return "", true
	}
	if !c.NS.listening && c.Socket.State != collectors.Listen {
		return "", false
	}
	for _, l := range listenersOf(c) {
		one := listenerName(l, c.NS)
		if name != "" && one != name {
			return "", false
		}
		name = one
	}
	return name, true
}

func listenerName(l *collectors.Socket, ns *Namespace) string {
	at := l.Local.Netip()
	host, device := at.String(), ""
	if !at.Is4() {
		host = "[" + host + "]"
	}
	if l.IfIndex != 0 && l.IfIndex != collectors.UnknownIfIndex {
		device = "%" + cmp.Or(ns.Interfaces[l.IfIndex], fmt.Sprint(l.IfIndex))
	}
	return fmt.Sprintf("%s%s:%d", host, device, l.LocalPort)
}
