package rules

import (
	"slices"

	"sockwarden/collectors"
)

// anchors are the fields that tie a condition to a service, a place or a peer: without
// any of them a rule is about every program on the host, even future ones.
var anchors = collectors.Fields(
	collectors.FieldPort, collectors.FieldRemotePort, collectors.FieldLocalAddr, collectors.FieldRemoteAddr, collectors.FieldInterface,
	collectors.FieldNetNS, collectors.FieldCookie, collectors.FieldInode, collectors.FieldProcess, collectors.FieldExe, collectors.FieldCmdline,
	collectors.FieldPID, collectors.FieldUID, collectors.FieldUser, collectors.FieldListenerProcess, collectors.FieldCgroup, collectors.FieldUnit,
	collectors.FieldContainerID).Or(collectors.ContainerFields())

// Anchors are the fields that tie a condition to a service, a place or a peer: a rule that
// ends something and reads none of them gets a warning.
func Anchors() collectors.FieldSet { return anchors }

// lintLimits warns about rules that can do more than their author is likely to intend.
func lintLimits(r *rawRule, rule *Rule, warn warner) {
	if rule.Mode != ModeEnforce || !rule.ends(r) {
		return
	}
	reads := rule.When.Reads
	if rule.Unless != nil {
		reads.Add(rule.Unless.Reads)
	}
	process := slices.IndexFunc(r.then, func(rung rawRung) bool { return rung.spec.OnProcess && !rung.spec.Spares })
	l := &rule.Limits
	switch {
	case !reads.Meets(anchors) && !rule.Grouped() && !rule.takesLiving():
		warn(idNoAnchor, r.when, 0, "rule %q is about every program of the host, even those that come later: say which, by port, process, unit or container",
			rule.Name)
	case process >= 0 && l.MaxCollateral < 0:
		warn(idNoCollateral, r.then[process].at, 0, "rule %q, %s: all healthy connections of its process die, however many: write limits: {max_collateral: 0}",
			rule.Name, r.then[process].action)
	}
	if rule.When.Names(collectors.FieldRemoteAddr) && l.Peer == 0 && l.PerMinute == 0 && l.Share == 0 && rule.takesLiving() {
		warn(idPeerUnlimited, r.when, 0, "rule %q goes by the peer's address, and cuts off a peer that reconnects again and again: "+
			"write limits: {cooldown: {peer: 1m}}, or per_minute", rule.Name)
	}
}

// takesLiving reports whether the condition may be true of a connection that works.
func (rule *Rule) takesLiving() bool {
	return rule.When.MayHold().States.Has(collectors.Established) && slices.ContainsFunc(rule.about(), collectors.Protocol.Connects)
}

// lintShadowed warns about a rule that never gets a socket, because something before it
// certainly takes or spares them all.
func (b *builder) lintShadowed(r *rawRule, rule *Rule, warn warner) {
	if rule.Mode != ModeEnforce {
		return
	}
	for _, p := range b.program.Protect {
		if len(p.During) == 0 && comparable(rule.File, p.File, p.When) && rule.When.Implies(p.When) {
			warn(idShadowed, r.when, 0, "rule %q never acts: protect %q spares all that it takes", rule.Name, p.Name)
			return
		}
	}
	for _, before := range b.program.Rules {
		if before.owns() && comparable(rule.File, before.File, before.When) && rule.When.Implies(before.When) && slices.Equal(b.in, before.netns) {
			warn(idShadowed, r.when, 0, "rule %q never acts: rule %q before it takes all that it would: put it first, or make one of them narrower", rule.Name, before.Name)
			return
		}
	}
}

// owns reports whether the rule takes every socket of which its condition is true, and
// leaves none of them to later rules.
func (rule *Rule) owns() bool {
	return rule.Mode == ModeEnforce && !rule.Grouped() && rule.For == 0 && rule.Unless == nil && len(rule.Then) > 0
}

// comparable reports whether the names in a condition mean the same in two files. It does
// not compare the lists of sets.
func comparable(file, other string, c *Cond) bool { return file == other || len(c.Sets) == 0 }

// lintUnused warns about names that nothing in their file uses.
func (b *builder) lintUnused() {
	used := map[string]bool{}
	for _, c := range b.compiled {
		for name := range c.Uses {
			used[name] = true
		}
	}
	for _, name := range sortedKeys(b.names.varsAt) {
		if !used[name] {
			b.warnf(idUnusedVar, b.names.varsAt[name], 0, "no condition of this file uses the variable %q", name)
		}
	}
	for _, name := range sortedKeys(b.names.setsAt) {
		if !used[name] {
			b.warnf(idUnusedSet, b.names.setsAt[name], 0, "no condition of this file uses the set %q", name)
		}
	}
	for _, name := range sortedKeys(b.names.macros) {
		if !used[name] {
			b.warnf(idUnusedMacro, b.names.macros[name], 0, "no condition of this file uses the macro %q", name)
		}
	}
}
