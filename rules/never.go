package rules

import (
	"slices"

	"go.yaml.in/yaml/v4"

	"sockwarden/collectors"
)

// neverActs says why no rung of a rule is ever applied to what its condition may be true
// of, and which rung says so, nil if one may be. Usually the reason is a guard that can
// be opted out of. Of several reasons it returns the one for most kinds of sockets.
func neverActs(r *rawRule, rule *Rule) (why string, at *yaml.Node) {
	if rule.Mode != ModeEnforce {
		return "", nil
	}
	type said struct {
		why string
		at  *yaml.Node
	}
	counts, most := map[said]int{}, 0
	for _, s := range possible(rule) {
		var first said
		for i := range r.then {
			rung, reason := &r.then[i], ""
			if rung.spec.Refuses != nil {
				reason = rung.spec.Refuses(rung.bound, s)
			}
			if reason == "" {
				return "", nil
			}
			if first.at == nil {
				first = said{reason, rung.at}
			}
		}
		if counts[first]++; counts[first] > most {
			most, why, at = counts[first], first.why, first.at
		}
	}
	return why, at
}

// possible returns a socket of each kind that the condition of a rule may be true of.
func possible(rule *Rule) (kinds []*collectors.Socket) {
	for _, protocol := range rule.about() {
		for state := collectors.Established; state <= collectors.Closing; state++ {
			if protocol == collectors.UDP && state != collectors.Established && state != collectors.Close {
				continue // UDP has no others
			}
			for inode := range uint32(2) {
				s := &collectors.Socket{
					Protocol: protocol, State: state, Inode: inode,
					Known: collectors.Fields(
						collectors.FieldProtocol, collectors.FieldState, collectors.FieldOwned, collectors.FieldOrphan, collectors.FieldUnaccepted),
				}
				if inode != 0 && (state == collectors.TimeWait || state == collectors.SynRecv) {
					continue // these have no inode
				}
				record := collectors.NewRecord(s, nil, nil, nil, "")
				if rule.When.Eval(&record) != False {
					kinds = append(kinds, s)
				}
			}
		}
	}
	return kinds
}

// about returns the protocols that the rule may be about, judged by what it reads.
func (rule *Rule) about() []collectors.Protocol {
	if !rule.When.Reads.Has(collectors.FieldProtocol) {
		return []collectors.Protocol{collectors.TCP}
	}
	return rule.When.MayHold().Protocols
}

// wide are the fields by which a condition does not single out connections: nearly all
// living ones have the same value, or will have it in time.
var wide = collectors.Fields(collectors.FieldProtocol, collectors.FieldFamily, collectors.FieldState, collectors.FieldNetNS, collectors.FieldHost,
	collectors.FieldCookie, collectors.FieldInode, collectors.FieldOwned).Or(collectors.AgeFields())

// lintEverything warns about rules that end whatever is connected.
func lintEverything(r *rawRule, rule *Rule, warn warner) {
	narrow := rule.When.Reads
	if rule.Unless != nil {
		narrow.Add(rule.Unless.Reads)
	}
	narrow.Remove(wide)
	live := rule.When.MayHold().States.Has(collectors.Established) && slices.ContainsFunc(rule.about(), collectors.Protocol.Connects)
	if rule.Mode != ModeEnforce || !live || !narrow.Empty() || rule.Grouped() || !rule.ends(r) {
		return
	}
	warn(idTakesAll, r.when, 0, `rule %q takes every connection of this host, live ones too: say which, as by port in [80, 443], `+
		`process == "nginx" or state == "CLOSE_WAIT"`, rule.Name)
}
