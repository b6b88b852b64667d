package judge

import (
	"fmt"
	"slices"
	"strings"

	"sockwarden/collectors"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/report"
	"sockwarden/rules"
)

// Group is a group while the judge counts and judges it.
type Group struct {
	*report.Group
	members   []*look.Candidate
	uncertain int     // sockets that may or may not be members
	since     float64 // when having began to hold without a break
	// For a rule that keeps some: how many are no members as its unless spares them, and
	// which members are beyond those that are kept.
	exempt int
	beyond map[member]bool
}

// groups returns the groups of a rule whose having holds, by their members. Sockets with an
// unknown key, or with none (no process, no unit), form no group. An incomplete picture
// decides nothing.
func (j *Judge) groups(c *Cycle, index int) map[*look.Candidate]*Group {
	rule := c.Program.Rules[index]
	if !rule.Grouped() || c.Incomplete {
		return nil
	}
	out := map[*look.Candidate]*Group{}
	for _, g := range j.counted(c, index) {
		j.growth(g, c.Now)
		if rule.Having != nil && rule.Having.Eval(&collectors.Record{Group: &g.Facts, Host: j.world.Host.Name}) != rules.True {
			continue
		}
		if rule.Keep > 0 {
			if j.excess(c, rule, g); g.Beyond == 0 {
				continue
			}
		}
		g.since = j.memory.Hold(memory.HoldKey{Rule: rule.Name, Fingerprint: rule.Fingerprint, Socket: g.SocketKey()}, rule.For, c.Now)
		for _, m := range g.members {
			out[m] = g
		}
		if len(g.members) == 0 {
			out[c.nobody()] = g
		}
	}
	return out
}

// Counted returns the group of each socket that is a member of one of a rule, also where
// having does not hold of it; none of an incomplete picture. It notes nothing.
func (j *Judge) Counted(c *Cycle, rule *rules.Rule) map[*look.Candidate]*report.Group {
	index := slices.Index(c.Program.Rules, rule)
	if index < 0 || !rule.Grouped() || c.Incomplete {
		return nil
	}
	out := map[*look.Candidate]*report.Group{}
	for _, g := range j.counted(c, index) {
		for _, m := range g.members {
			out[m] = g.Group
		}
	}
	return out
}

// counted returns all groups of a rule, with their sums.
func (j *Judge) counted(c *Cycle, index int) []*Group {
	rule := c.Program.Rules[index]
	byID := map[string]*Group{}
	var order []*Group
	if slices.Equal(rule.Group, []rules.GroupKey{rules.ByHost}) {
		// The host always exists, so a rule can act when nothing matches.
		g := &Group{Group: &report.Group{Key: map[string]any{"host": j.world.Host.Name}}}
		byID[""] = g
		order = append(order, g)
	}
	anywhere := 0 // sockets that may belong to any of the groups
	for _, cand := range c.Candidates {
		if !slices.Contains(cand.Hits, index) {
			continue
		}
		matches, exempt := membership(rule, cand)
		if matches == rules.False && !exempt {
			continue
		}
		id, key, ok := groupOf(rule, cand)
		if !ok {
			if hidden(rule, cand) && matches != rules.False {
				anywhere++
			}
			continue
		}
		g := byID[id]
		if g == nil {
			g = &Group{Group: &report.Group{ID: id, Key: key}}
			byID[id] = g
			order = append(order, g)
		}
		if exempt {
			g.exempt++
		}
		if matches == rules.False {
			continue
		}
		if began := max(c.Looked, cand.SeenAgain); c.NeedsTwo[index] && !cand.ProvenAt(began) {
			matches = rules.Unknown
			c.sooner(cand.LeftAt(began))
		}
		if matches == rules.Unknown {
			g.uncertain++
		} else {
			g.members = append(g.members, cand)
		}
	}
	for _, g := range order {
		g.uncertain += anywhere
		g.CountedAt = c.Ended
		g.sum(rule)
	}
	return order
}

// GroupNow returns a group of a rule as a picture shows it, nil if its having does not hold.
func (j *Judge) GroupNow(p *look.Picture, rule int, id string) *Group {
	for _, g := range j.groups(NewCycle(p, false), rule) {
		if g.ID == id {
			return g
		}
	}
	return nil
}

// membership says whether a socket belongs to a group of the rule, and whether it is one of
// those that the rule keeps as its unless spares them. A record that the kernel has not
// confirmed proves nothing.
func membership(rule *rules.Rule, cand *look.Candidate) (is rules.Tri, exempt bool) {
	when := cand.Eval(rule.When)
	if when == rules.False {
		return rules.False, false
	}
	keeps := rule.Keep > 0 && when == rules.True && cand.Socket.Cookie != 0
	if rule.Unless != nil {
		switch spared, v := cand.Spares(rule.Unless); {
		case v == rules.True:
			return rules.False, keeps
		case spared:
			return rules.Unknown, keeps
		}
	}
	if cand.Socket.Cookie == 0 {
		return rules.Unknown, false
	}
	return when, false
}

// hidden reports whether a socket lacks a known key for the rule's groups.
func hidden(rule *rules.Rule, cand *look.Candidate) bool {
	r := cand.Record()
	return slices.ContainsFunc(rule.Group, func(k rules.GroupKey) bool {
		_, known := keyValue(k, cand, &r)
		return !known
	})
}

// keyValue returns the value of a key for a socket; false if it is not known.
func keyValue(k rules.GroupKey, cand *look.Candidate, r *collectors.Record) (any, bool) {
	switch k {
	case rules.ByHost:
		return cand.Host, true
	case rules.ByListener:
		return cand.Listener()
	default:
		return rules.GroupValue(k, r)
	}
}

// within are the keys that mean something only within a network namespace.
var within = []rules.GroupKey{rules.ByPort, rules.ByRemotePort, rules.ByRemoteAddr, rules.ByProcess, rules.ByListener}

// nobody stands for the socket of an empty group.
func (c *Cycle) nobody() *look.Candidate {
	if c.none == nil {
		c.none = &look.Candidate{NS: c.Namespaces[0], Facts: collectors.Facts{Age: collectors.NoAge(), Complete: true}}
	}
	return c.none
}

// groupOf returns what identifies the group of a socket.
func groupOf(rule *rules.Rule, cand *look.Candidate) (id string, key map[string]any, ok bool) {
	r := cand.Record()
	key = map[string]any{}
	var parts []string
	perNS := false
	for _, k := range rule.Group {
		v, known := keyValue(k, cand, &r)
		if !known || k != rules.ByHost && (v == "" || v == float64(0)) {
			return "", nil, false
		}
		if k != rules.ByHost {
			parts = append(parts, fmt.Sprint(v))
		}
		if n, isNum := v.(float64); isNum {
			v = int64(n)
		}
		key[string(k)] = v
		perNS = perNS || slices.Contains(within, k)
	}
	if perNS {
		parts = append(parts, fmt.Sprint("netns ", cand.Socket.NetNS))
	}
	return strings.Join(parts, "\x00"), key, true
}

// sum adds the members up.
func (g *Group) sum(rule *rules.Rule) {
	f := &g.Facts
	*f = collectors.Group{Count: len(g.members), Uncertain: g.uncertain, Age: collectors.NoAge(), FDs: -1, FDLimit: -1}
	for i, m := range g.members {
		f.RecvQueue += float64(m.Socket.RecvQueue)
		f.SendQueue += float64(m.Socket.SendQueue)
		f.Unsummed = f.Unsummed || !m.Socket.Known.Has(collectors.FieldRecvQueue)
		a := m.Facts.Age
		if a.Min > f.Age.Min {
			f.Age.Min, f.Age.Source = a.Min, a.Source
		}
		f.Age.Max = max(f.Age.Max, a.Max)
		f.Age.Bounded = g.uncertain == 0 && a.Bounded && (i == 0 || f.Age.Bounded)
	}
	if !slices.Contains(rule.Group, rules.ByPID) || len(g.members) == 0 || len(g.members[0].Facts.Owners) == 0 {
		return
	}
	o := &g.members[0].Facts.Owners[0]
	if o.Known.Has(collectors.FieldFDs) {
		f.FDs = float64(o.FDs)
	}
	if o.Known.Has(collectors.FieldFDLimit) {
		f.FDLimit = float64(o.FDLimit)
	}
}

// growth notes how many descriptors a process has, and how that has changed
// since it was first noted or last fell.
func (j *Judge) growth(g *Group, now float64) {
	if g.Facts.FDs < 0 {
		return
	}
	key := look.ProcessKey(&g.members[0].Facts.Owners[0])
	was, ok := j.memory.Descriptors[key]
	if !ok || g.Facts.FDs < was.Count {
		j.memory.Descriptors[key] = memory.DescriptorCount{At: now, Last: now, Count: g.Facts.FDs}
		return
	}
	was.Last = now
	j.memory.Descriptors[key] = was
	elapsed := now - was.At
	if elapsed <= 0 {
		return
	}
	g.Leak = &report.Leak{PerHour: (g.Facts.FDs - was.Count) / elapsed * 3600}
	if g.Leak.PerHour > 0 && g.Facts.FDLimit > 0 {
		g.Leak.FullIn = max(0, (g.Facts.FDLimit-g.Facts.FDs)/g.Leak.PerHour*3600)
	}
}
