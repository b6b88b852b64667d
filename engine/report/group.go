package report

import (
	"hash/fnv"
	"time"

	"sockwarden/collectors"
)

// Group is sockets that a rule judged together.
type Group struct {
	Key   map[string]any // what they have in common
	Facts collectors.Group
	// Leak is evidence that a process is running out of descriptors, for groups of one
	// process.
	Leak *Leak

	// Keep is how many of them the rule keeps, 0 for none, and Beyond how many are beyond.
	Keep, Beyond int

	// ID tells it from the other groups of its rule and stays the same over cycles.
	ID string
	// CountedAt is when it was counted.
	CountedAt time.Time
}

// Leak is how a process's descriptors grow.
type Leak struct {
	PerHour float64 // descriptors per hour
	FullIn  float64 // seconds until the limit at this rate, 0 for never
}

// SocketKey is the key under which memory keeps the group among sockets.
func (g *Group) SocketKey() collectors.Key {
	h := fnv.New64a()
	_, _ = h.Write([]byte(g.ID))
	return collectors.Key{Cookie: h.Sum64(), LocalPort: 0, Protocol: 0}
}

// Describe is the group as JSON shows it.
func (g *Group) Describe() map[string]any {
	m := map[string]any{"key": g.Key, "count": g.Facts.Count, "sum_recv_queue": g.Facts.RecvQueue, "sum_send_queue": g.Facts.SendQueue}
	if g.Facts.Age.Min > 0 {
		m["max_age"] = g.Facts.Age.Min
	}
	if g.Facts.FDs >= 0 {
		m["fds"] = g.Facts.FDs
	}
	if g.Facts.FDLimit >= 0 {
		m["fd_limit"] = g.Facts.FDLimit
	}
	if g.Keep > 0 {
		m["keep"], m["beyond"] = g.Keep, g.Beyond
	}
	if g.Leak != nil {
		m["fds_per_hour"] = g.Leak.PerHour
		if g.Leak.FullIn > 0 {
			m["full_in_seconds"] = g.Leak.FullIn
		}
	}
	return m
}
