package catalog

import (
	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/rules"
)

// New tells the rules which actions exist. An engine runs only programs that were loaded
// with such a catalog: it binds each rung to its action.
func New(registry *actions.Registry) rules.Catalog {
	var c rules.Catalog
	for _, p := range registry.All() {
		spec := rules.ActionSpec{
			Name: p.Name, Doc: p.Summary, Params: Params(p.Params), Main: p.Main, OnProcess: p.OnProcess(), Single: p.Single(), NeedsCooldown: p.NeedsCooldown,
			Spares: p.Harmless || p.Gentle, Never: registry.Never(&p), Warn: p.Warn,
			Bind:    func(params map[string]any) (any, error) { return p.Bind(params) },
			Refuses: func(bound any, s *collectors.Socket) string { return bound.(*actions.Bound).Refuses(s) }, //nolint:forcetypeassert // Bind made it
		}
		for _, r := range p.Results {
			spec.Results = append(spec.Results, string(r))
		}
		c = append(c, spec)
	}
	return c
}

// Params converts the parameters of a plugin to those of rules files.
func Params(in []actions.Param) []rules.Param {
	var out []rules.Param
	for _, q := range in {
		out = append(out, rules.Param{Name: q.Name, Type: rules.ParamType(q.Type), Doc: q.Doc, SecretFile: q.SecretFile, Program: q.Program})
	}
	return out
}

// Rung returns a rung that is not in any rules file.
func Rung(plugin *actions.Plugin, params map[string]any) (rules.Rung, error) {
	b, err := plugin.Bind(params)
	return rules.Rung{Action: plugin.Name, Params: params, Bound: b}, err
}

// Bound returns the action of a rung, as Catalog or Rung bound it.
func Bound(r *rules.Rung) *actions.Bound {
	return r.Bound.(*actions.Bound) //nolint:forcetypeassert // nothing else makes a rung
}
