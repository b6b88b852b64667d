package look

import (
	"cmp"
	"context"
	"fmt"

	"sockwarden/collectors"
	"sockwarden/engine/world"
)

// outside holds the listeners that show whether processes we cannot see use a namespace.
type outside struct {
	listeners map[*Namespace][]uint32 // inodes
	failed    map[*Namespace]error
}

// askOutside adds the listeners of the candidates' namespaces to the sockets whose
// holders we look for, if this PID namespace is inside another.
func (k *Looker) askOutside(ctx context.Context, c *Picture, inodes map[uint32]bool) *outside {
	o := &outside{map[*Namespace][]uint32{}, map[*Namespace]error{}}
	if !k.world.Owners.Coverage().Inside || len(inodes) == 0 {
		return o
	}
	for _, cand := range c.Candidates {
		if _, asked := o.listeners[cand.NS]; asked || cand.Socket.Inode == 0 && !Waits(&cand.Socket) {
			continue
		}
		o.listeners[cand.NS], o.failed[cand.NS] = k.Dumps.listening(ctx, cand.NS)
		for _, inode := range o.listeners[cand.NS] {
			inodes[inode] = true
		}
	}
	return o
}

// hides returns, for each namespace, why processes that we cannot see may also hold its
// sockets; "" if we know of none.
func (k *Looker) hides(ctx context.Context, c *Picture, o *outside, holders *world.Ownership) map[*Namespace]string {
	why := map[*Namespace]string{}
	cover := k.world.Owners.Coverage()
	for _, cand := range c.Candidates {
		if _, known := why[cand.NS]; known {
			continue
		}
		switch {
		case cover.HidePID != "":
			why[cand.NS] = "/proc hides processes (" + cover.HidePID + "): " + world.AsRoot("CAP_SYS_PTRACE")
		case len(holders.Unreadable) > 0:
			why[cand.NS] = k.world.Owners.Unexamined(holders.Unreadable)
		case cover.Inside:
			if why[cand.NS] = k.usedOutside(ctx, cand.NS, o, holders); why[cand.NS] != "" {
				why[cand.NS] += ": run with --pid=host"
			}
		default:
			why[cand.NS] = ""
		}
	}
	return why
}

// usedOutside returns the evidence that processes outside of this PID namespace also use
// a network namespace: it is the machine's, or a process that we cannot see listens in it.
func (k *Looker) usedOutside(ctx context.Context, ns *Namespace, o *outside, holders *world.Ownership) string {
	if k.world.Network.Initial(&ns.Namespace) {
		return "this PID namespace does not show the processes of the host, whose network it is"
	}
	if o.failed[ns] != nil {
		return fmt.Sprintf("cannot tell whether processes outside this PID namespace listen: %v", o.failed[ns])
	}
	var unseen []uint32
	for _, inode := range o.listeners[ns] {
		if len(holders.ByInode[inode]) == 0 {
			unseen = append(unseen, inode)
		}
	}
	if len(unseen) == 0 {
		return ""
	}
	// Sockets that were closed since then have no holder.
	now, err := k.Dumps.listening(ctx, ns)
	still := map[uint32]bool{}
	for _, inode := range now {
		still[inode] = true
	}
	for _, inode := range unseen {
		if err != nil || still[inode] {
			return "processes that this PID namespace does not show listen in its network"
		}
	}
	return ""
}

// listening returns the inodes of the TCP listeners of a namespace.
func (d *dumps) listening(ctx context.Context, ns *Namespace) ([]uint32, error) {
	var err error
	for _, source := range d.sources {
		var all []collectors.Socket
		if shut := d.Hangs.shut(ns); shut != nil && source.Actionable {
			err = shut
			continue
		}
		if all, err = d.listenersBy(ctx, ns, source); err != nil {
			continue
		}
		inodes := make([]uint32, 0, len(all))
		for i := range all {
			if all[i].Inode != 0 {
				inodes = append(inodes, all[i].Inode)
			}
		}
		return inodes, nil
	}
	return nil, err
}

// unseen tells the guards why a candidate may have more owners than we know, and what helps.
func (c *Candidate) unseen(what string) string {
	return what + ": " + cmp.Or(c.Hidden, NobodyHas) + ", or --allow-unknown-owner"
}

// NobodyHas is why a socket has no visible owner although we see every process.
const NobodyHas = "no process has it, it is on the way from one to another or the kernel's own: wait"

// HiddenOwners returns why we may not know all holders of the socket or of its listener,
// "" if we know them all.
func (c *Candidate) HiddenOwners() string {
	switch {
	case c.OwnerHidden():
		return c.unseen("owner not visible")
	case len(c.Facts.Owners) > 0 && c.Facts.OthersHidden:
		return c.unseen("other owners may not be visible")
	case Waits(&c.Socket) && (c.Facts.ListenerOwner == nil || c.listenersUnseen):
		return c.unseen(WaitsFor(&c.Socket) + "owner of its listener not visible")
	case Waits(&c.Socket) && c.Facts.OthersHidden:
		return c.unseen(WaitsFor(&c.Socket) + "other owners of its listener may not be visible")
	}
	return ""
}

// WaitsFor returns the beginning of reasons that concern the listener of a socket.
func WaitsFor(s *collectors.Socket) string {
	if s.State == collectors.SynRecv {
		return "its handshake is under way: "
	}
	return "waits to be accepted: "
}
