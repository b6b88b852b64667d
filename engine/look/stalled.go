package look

import (
	"sockwarden/collectors"
	"sockwarden/engine/memory"
)

// SetStalled sets how long what the socket has sent has been waiting for the peer, and
// whether that is known: something is proven, or nothing waits.
func (c *Candidate) SetStalled(a collectors.Age) {
	if a.Bounded && a.Min > a.Max { // one of them is wrong, and a wait must never be too long
		a.Min, a.Source = 0, collectors.AgeNone
	}
	f := &c.Facts
	f.Stalled = a
	f.Known.Remove(collectors.StallFields())
	if a.Min > 0 || a.Bounded && a.Max == 0 {
		f.Known.Add(collectors.StallFields())
	}
}

// Stalled returns the wait that a record and earlier looks prove. A look that lasted from
// began to now has shown the record to memory.
func Stalled(m *memory.Memory, s *collectors.Socket, began, now float64) collectors.Age {
	return m.Stalled(collectors.KeyOf(s), stalledBy(s), began, now)
}

// Stalled is the function of that name in this looker's world.
func (k *Looker) Stalled(s *collectors.Socket, began, now float64) collectors.Age {
	if k.world.Invented != nil {
		return k.world.Invented.Stalled(s)
	}
	return Stalled(k.memory, s, began, now)
}

// stalledBy is what one record proves.
//
//   - While segments are in flight, none was sent after the stamp of the last data, so the
//     oldest of them has waited at least that long; and nothing was acknowledged after the
//     last ACK. A FIN has no stamp: if one may be in flight, there must be another segment.
//   - If every timeout that the connection ever had came after the last progress, it has
//     waited since the first of them.
//   - It has waited no longer than it ever had anything waiting (tcpi_busy_time).
func stalledBy(s *collectors.Socket) collectors.Age {
	i := &s.Info
	switch {
	case s.Protocol != collectors.TCP || !s.Known.Has(collectors.FieldAckIdle) || i.Len < collectors.InfoNotSent:
		return collectors.NoAge()
	case s.SendQueue == 0 && i.Unacked == 0 && i.NotSent == 0:
		return collectors.Age{Bounded: true, Source: collectors.AgeTCPInfo}
	case !memory.Waits(s):
		return collectors.NoAge()
	}
	a, fins := collectors.NoAge(), uint32(1)
	if s.State == collectors.Established || s.State == collectors.CloseWait {
		fins = 0
	}
	if i.Unacked > fins && i.BytesSent > 0 {
		a = atLeast(collectors.Seconds(min(i.LastDataSent, i.LastAckRecv)), collectors.AgeTCPInfo)
	}
	if ownTimeouts(i) {
		if b := atLeast(collectors.Seconds(i.RTOTime), collectors.AgeTimer); b.Min > a.Min {
			a = b
		}
	}
	return atMost(a, i.BusyTime > 0, float64(i.BusyTime)/1e6)
}

// findStalled sets the wait of a candidate, if a condition reads it.
func (k *Looker) findStalled(c *Picture, cand *Candidate) {
	if !c.Plan.Reads.Meets(collectors.StallFields()) {
		return
	}
	if cand.Blind {
		cand.SetStalled(collectors.NoAge())
		return
	}
	cand.SetStalled(k.Stalled(&cand.Socket, c.Looked, c.Now))
}

// stalls reports whether we have to remember a candidate for how long it has been waiting.
func (c *Picture) stalls(cand *Candidate) bool {
	return c.Plan.Reads.Meets(collectors.StallFields()) && memory.Waits(&cand.Socket)
}
