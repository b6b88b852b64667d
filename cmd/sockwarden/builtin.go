package main

import (
	"log/slog"

	"sockwarden/actions"
	"sockwarden/actions/abort"
	"sockwarden/actions/destroy"
	"sockwarden/actions/exec"
	"sockwarden/actions/log"
	"sockwarden/actions/repair"
	"sockwarden/actions/restart"
	"sockwarden/actions/shutdown"
	"sockwarden/actions/signal"
	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
	"sockwarden/collectors/sockdiag"
	"sockwarden/rules"
)

// builtinCollectors is every source of records, in the order in which they are
// tried.
func builtinCollectors() (*collectors.Registry, error) {
	return collectors.NewRegistry( //nolint:wrapcheck // ours
		sockdiag.Plugin(),
		procfs.Plugin(),
	)
}

// builtinActions is every action that rules can name.
func builtinActions(logger *slog.Logger) (*actions.Registry, error) {
	return actions.NewRegistry( //nolint:wrapcheck // ours
		destroy.Plugin(),
		abort.Plugin(),
		shutdown.Plugin(),
		repair.Plugin(),
		signal.Plugin(),
		restart.Plugin(),
		exec.Plugin(),
		log.Plugin(logger),
	)
}

// catalog tells the rules what actions there are.
func catalog(registry *actions.Registry) rules.Catalog {
	var c rules.Catalog
	for _, p := range registry.All() {
		spec := rules.ActionSpec{Name: p.Name, Main: p.Main, NeedsCooldown: p.NeedsCooldown, Check: func(params map[string]any) error {
			_, err := p.New(params)
			return err
		}}
		for _, q := range p.Params {
			spec.Params = append(spec.Params, rules.Param{Name: q.Name, Type: rules.ParamType(q.Type), Doc: q.Doc})
		}
		c = append(c, spec)
	}
	return c
}
