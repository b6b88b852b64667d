package look

import (
	"fmt"
	"slices"

	"sockwarden/collectors"
)

// findCgroups finds the control groups in which sockets were made, for sockets whose owners'
// control groups are unknown: orphans, and those that an unprivileged run cannot see. It
// asks for all of them at once, and only if something reads them.
func (k *Looker) findCgroups(c *Picture) {
	field := collectors.Fields(collectors.FieldCgroup)
	if k.world.Cgroups == nil || !c.Plan.Reads.Meets(field) && !k.shows.Meets(field) {
		return
	}
	byID := map[uint64][]*Candidate{}
	for _, cand := range c.Candidates {
		unknown := func(o collectors.Owner) bool { return !o.Known.Meets(field) }
		if owners := cand.Facts.Owners; cand.Socket.CgroupID != 0 && (len(owners) == 0 || slices.ContainsFunc(owners, unknown)) {
			byID[cand.Socket.CgroupID] = append(byID[cand.Socket.CgroupID], cand)
		}
	}
	if len(byID) == 0 {
		return
	}
	ids := make([]uint64, 0, len(byID))
	for id := range byID {
		ids = append(ids, id)
	}
	paths, err := k.world.Cgroups(ids)
	if err != nil {
		c.warn(fmt.Errorf("control groups of sockets are not known: %w", err))
	}
	for id, path := range paths {
		for _, cand := range byID[id] {
			cand.Facts.Cgroup = path
			cand.Facts.Known.Add(field)
		}
	}
}
