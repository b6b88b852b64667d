package view

import "sockwarden/rules"

// programJSON describes rules for other programs.
func programJSON(p *rules.Program) map[string]any {
	list := []map[string]any{}
	for _, r := range p.Rules {
		row := map[string]any{
			"name": r.Name, "description": r.Description, "file": r.File, "line": r.Line, "mode": r.Mode, "when": r.When.Text,
			"when_expanded": oneLine(r.When.Expanded()), "netns": r.NetNS(), "pushed_down": pushedDown(r), "costs": costsJSON(r), "ladder": ladderJSON(r),
			"for_seconds": r.For.Seconds(), "then": ladder(r), "labels": r.Labels,
			"limits": map[string]any{
				"per_cycle": r.Limits.PerCycle, "per_minute": r.Limits.PerMinute, "share": r.Limits.Share,
				"cooldown_seconds": r.Limits.Cooldown.Seconds(), "peer_cooldown_seconds": r.Limits.Peer.Seconds(), "max_collateral": r.Limits.MaxCollateral,
			},
			"soak_seconds": r.Soak.Seconds(), "canary": r.Canary, "notify": r.Notify,
		}
		if r.Grouped() {
			row["group"] = r.Group
			if r.Having != nil {
				row["having"], row["having_expanded"] = r.Having.Text, oneLine(r.Having.Expanded())
			}
			if r.Keep > 0 {
				row["keep"], row["order"] = r.Keep, r.Order
			}
		}
		if len(r.During) > 0 {
			windows := make([]string, len(r.During))
			for i, w := range r.During {
				windows[i] = w.String()
			}
			row["during"] = windows
		}
		if r.Unless != nil {
			row["unless"], row["unless_expanded"] = r.Unless.Text, oneLine(r.Unless.Expanded())
		}
		if o := r.Overridden; o != nil {
			row["overridden"] = map[string]any{"file": o.File, "line": o.Line, "keys": o.Keys}
		}
		list = append(list, row)
	}
	protect := []map[string]any{}
	for _, q := range p.Protect {
		protect = append(protect, map[string]any{"name": q.Name, "when": q.When.Text, "when_expanded": oneLine(q.When.Expanded()), "file": q.File})
	}
	files := []string{}
	for _, f := range p.Files {
		files = append(files, f.Path)
	}
	return map[string]any{
		"generation": p.Generation, "files": files, "vars": p.Vars, "protect": protect, "rules": list, "netns": p.NetNS,
		"breaker": map[string]any{"count": p.Breaker.Count, "share": p.Breaker.Share},
	}
}

// pushedDown is what the kernel is asked for on behalf of a rule.
func pushedDown(r *rules.Rule) map[string]any {
	asks := r.Asks()
	protocols, states := []string{}, stateNames(asks.States)
	for _, p := range asks.Protocols {
		protocols = append(protocols, p.String())
	}
	if states == nil {
		protocols, states = []string{}, []string{}
	}
	return map[string]any{"protocols": protocols, "states": states, "only": asks.String()}
}

func costsJSON(r *rules.Rule) []map[string]any {
	all := []map[string]any{}
	for _, c := range costsOf(r) {
		all = append(all, map[string]any{"cost": c.cost.String(), "fields": c.fields})
	}
	return all
}

func ladderJSON(r *rules.Rule) []map[string]any {
	all := []map[string]any{}
	for i := range r.Then {
		rung := &r.Then[i]
		row := map[string]any{"action": rung.Action, "params": rung.Params, "wait_seconds": rung.Wait.Seconds()}
		if rung.If != nil {
			row["if"], row["if_expanded"] = rung.If.Text, oneLine(rung.If.Expanded())
		}
		all = append(all, row)
	}
	return all
}
