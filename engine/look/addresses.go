package look

import (
	"fmt"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// findGone fills in local_addr_gone if a condition reads it, and drops the candidates that
// no rule can match because of it: everything else that we have to find out costs more.
func (k *Looker) findGone(c *Picture) {
	if !readsAddresses(c.Plan) {
		return
	}
	for _, cand := range c.Candidates {
		if err := k.setGone(cand, 0); err != nil {
			c.warn(err)
		}
	}
	c.keep(func(cand *Candidate, rule *rules.Rule) bool {
		return !rule.When.Reads.Has(collectors.FieldLocalAddrGone) || c.evalByAge(cand, rule.When.EvalOnceIdle) != rules.False
	})
}

func readsAddresses(plan *rules.Program) bool { return plan.Reads.Has(collectors.FieldLocalAddrGone) }

// RenewGone finds out again whether the local address of a candidate is gone, if the plan
// reads that. The namespace's answer may be up to atMost old, or of any age if that is zero.
func (k *Looker) RenewGone(plan *rules.Program, cand *Candidate, atMost time.Duration) {
	if readsAddresses(plan) && !cand.NoSocket() {
		if err := k.setGone(cand, atMost); err != nil {
			k.log.Debug("local addresses unknown", "netns", cand.NS.Name, "error", err)
		}
	}
}

// addressesOf returns the addresses that belong to a namespace. It asks once, and again if
// atMost is not zero and the last answer is older than that.
func (k *Looker) addressesOf(ns *Namespace, atMost time.Duration) *addresses {
	a := &ns.addresses
	if a.at.IsZero() || atMost > 0 && k.world.Now().Sub(a.at) > atMost {
		a.own, a.err = k.world.Network.Addresses(&ns.Namespace)
		a.at = k.world.Now()
	}
	return a
}

// setGone notes whether the local address of a candidate is gone. The namespace's answer
// may be up to atMost old, or of any age if that is zero.
func (k *Looker) setGone(cand *Candidate, atMost time.Duration) error {
	f := &cand.Facts
	f.LocalAddrGone = false
	f.Known.Remove(collectors.Fields(collectors.FieldLocalAddrGone))
	a := k.addressesOf(cand.NS, atMost)
	if a.err != nil {
		return fmt.Errorf("local addresses of namespace %s: %w", cand.NS.Name, a.err)
	}
	gone, known := isGone(&cand.Socket, &a.own)
	if known {
		f.LocalAddrGone = gone
		f.Known.Add(collectors.Fields(collectors.FieldLocalAddrGone))
	}
	k.tell(cand)
	return nil
}

// addresses is the last answer to the question which addresses belong to a namespace.
type addresses struct {
	at  time.Time // zero for never
	own world.Addresses
	err error
}

// has reports whether the namespace, as far as we could ask it, has the address.
func (a *addresses) has(addr collectors.Addr) bool {
	return a.own.Holds != nil && a.own.Holds(addr.Netip(), 0)
}

// isGone reports whether the address of a socket has left its namespace, and whether that
// is known. A transparent proxy has the addresses of others. A socket that listens, or is
// connected to nobody, can wait for an address that is not there yet, if an option or the
// namespace allows it; the connections that it accepts inherit the option, but not the
// excuse.
func isGone(s *collectors.Socket, own *world.Addresses) (gone, known bool) {
	local := s.Local.Netip()
	device := s.IfIndex
	if device == collectors.UnknownIfIndex {
		device = 0
	}
	bindsAny := own.BindsAny6
	if local.Is4() {
		bindsAny = own.BindsAny4
	}
	switch {
	case own.Holds(local, device):
		return false, true
	case !s.Options.Shown, s.Options.Transparent,
		s.Protocol == collectors.MPTCP: // it can live on over subflows from other addresses
		return false, false
	case s.RemotePort == 0 && (s.Options.FreeBind || bindsAny):
		return false, true
	}
	return true, true
}
