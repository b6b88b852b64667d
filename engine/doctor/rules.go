package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"sockwarden/collectors"
	"sockwarden/collectors/host"
	"sockwarden/engine/catalog"
	"sockwarden/rules"
)

// ruleChecks says what each rule could not do here.
func ruleChecks(ctx context.Context, plan *Plan, checks []Check) []Check {
	failed := map[string]bool{}
	for _, c := range checks {
		failed[c.Name] = c.Level != OK
	}
	k, _ := host.RunningKernel() // an unread version lacks nothing
	var out []Check
	for _, r := range plan.Program.Rules {
		c := Check{Name: "rule " + r.Name, Level: OK, Detail: "could do all that it says"}
		var lacks []string
		level := Warn
		if failed["CAP_SYS_PTRACE"] || failed["CAP_DAC_READ_SEARCH"] {
			lacks = append(lacks, withoutOwners(r)...)
		}
		if failed["CAP_SYS_ADMIN"] {
			lacks = append(lacks, withoutNamespaces(r)...)
		}
		if failed[enginesName] {
			lacks = append(lacks, withoutNames(r)...)
		}
		for i := range r.Then {
			b, lack := catalog.Bound(&r.Then[i]), ""
			if missing := lacking(b, failed, k); len(missing) > 0 {
				lack = fmt.Sprintf("%s would not work (%s)", b.Name, strings.Join(missing, ", "))
			} else if err := b.Preflight(ctx); err != nil {
				lack = fmt.Sprintf("%s would not work: %v", b.Name, err)
				if r.Mode == rules.ModeEnforce {
					level = Fail
				}
			}
			if lack != "" && !slices.Contains(lacks, lack) { // the same need of TERM, and then of KILL
				lacks = append(lacks, lack)
			}
		}
		if r.NeverActs != "" {
			lacks, level = append(lacks, "it can never act: "+r.NeverActs), Fail
		}
		if len(lacks) > 0 {
			c.Level, c.Detail = level, strings.Join(lacks, "; ")
		}
		out = append(out, c)
	}
	return out
}

// withoutOwners says what a rule cannot know if it cannot see the owners of other users'
// sockets.
func withoutOwners(r *rules.Rule) (lacks []string) {
	owner := collectors.OwnerFields().Or(collectors.EngineFields()).Or(collectors.PeerFields())
	if r.When.Reads.Meets(owner) {
		lacks = append(lacks, "owners of other users' sockets are unknown to its condition")
	}
	if r.Unless != nil && r.Unless.Reads.Meets(owner) {
		lacks = append(lacks, "its exception spares all sockets of other users")
	}
	for _, k := range r.Group {
		switch k {
		case rules.ByPID, rules.ByProcess, rules.ByUnit, rules.ByContainer, rules.ByContainerID:
			lacks = append(lacks, fmt.Sprintf("sockets of other users are in no group by %s", k))
		default:
		}
	}
	return lacks
}

// withoutNamespaces says what a rule cannot tell where other network namespaces are not to
// be entered.
func withoutNamespaces(r *rules.Rule) (lacks []string) {
	ends := collectors.PeerFields()
	if r.When.Reads.Meets(ends) {
		lacks = append(lacks, "other ends that are in other network namespaces, or nowhere here, are unknown to its condition")
	}
	if r.Unless != nil && r.Unless.Reads.Meets(ends) {
		lacks = append(lacks, "its exception may spare all connections but those within a namespace")
	}
	return lacks
}
