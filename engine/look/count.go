package look

import (
	"context"
	"slices"

	"sockwarden/collectors"
	"sockwarden/engine/world"
)

// collectHeld streams the sockets that processes hold in a namespace that we cannot enter,
// as far as we may borrow their descriptors: actions through the owners do not enter it
// either. The caller has said that this is not all.
func (d *dumps) collectHeld(ctx context.Context, c *Picture, ns *Namespace) {
	q := d.Query(c.Plan)
	if q.Protocols = slices.DeleteFunc(slices.Clone(q.Protocols), func(p collectors.Protocol) bool { return p != collectors.TCP }); len(q.Protocols) == 0 {
		return
	}
	for _, source := range d.sources {
		if !source.Actionable {
			continue
		}
		if err := d.stream(ctx, c, ns, source, []collectors.Query{q}); err != nil {
			d.log.Debug("nor can the sockets of its processes be borrowed", "netns", ns.Name, "error", err)
		}
		return
	}
}

// count counts the sockets of each namespace. If that fails, the count is 0 and not sure.
func (d *dumps) count(c *Picture) ([]world.Counts, []error) {
	all := make([]*world.Namespace, len(c.Namespaces))
	for i, ns := range c.Namespaces {
		all[i] = &ns.Namespace
	}
	counts, errs := d.world.Counter.Count(all)
	for _, n := range counts {
		c.Total += n.TCP + n.UDP
	}
	return counts, errs
}

// empty reports whether the counts of a namespace prove that a query would find nothing in
// it. They leave out what is in SYN_RECV (its listener may be gone), and what is bound
// and no more, which Linux 6.8 shows as CLOSE; of MPTCP they say nothing.
func empty(n world.Counts, q *collectors.Query) bool {
	if !n.Sure {
		return false
	}
	for _, protocol := range q.Protocols {
		switch states, _ := q.For(protocol); {
		case protocol == collectors.UDP && n.UDP == 0:
		case protocol == collectors.TCP && n.TCP == 0 && !states.Has(collectors.SynRecv) && !states.Has(collectors.Close):
		default:
			return false
		}
	}
	return true
}
