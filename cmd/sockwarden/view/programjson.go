package view

import "sockwarden/rules"

// programJSON describes rules for other programs.
func programJSON(p *rules.Program) map[string]any {
	list := []map[string]any{}
	for _, r := range p.Rules {
		row := map[string]any{
			"name": r.Name, "description": r.Description, "file": r.File, "line": r.Line, "mode": r.Mode, "when": r.When.Text,
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
				row["having"] = r.Having.Text
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
			row["unless"] = r.Unless.Text
		}
		if o := r.Overridden; o != nil {
			row["overridden"] = map[string]any{"file": o.File, "line": o.Line, "keys": o.Keys}
		}
		list = append(list, row)
	}
	protect := []map[string]any{}
	for _, q := range p.Protect {
		protect = append(protect, map[string]any{"name": q.Name, "when": q.When.Text, "file": q.File})
	}
	files := []string{}
	for _, f := range p.Files {
		files = append(files, f.Path)
	}
	return map[string]any{"generation": p.Generation, "files": files, "vars": p.Vars, "protect": protect, "rules": list}
}
