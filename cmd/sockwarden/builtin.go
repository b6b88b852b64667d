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
	"sockwarden/actions/webhook"
	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
	"sockwarden/collectors/sockdiag"
	"sockwarden/rules"
)

// builtinCollectors is every source of records, in the order in which they are
// tried.
func builtinCollectors() (*collectors.Registry, error) {
	return collectors.NewRegistry(
		sockdiag.Plugin(),
		procfs.Plugin(),
	)
}

// builtinActions is every action that rules can name.
func builtinActions(logger *slog.Logger) (*actions.Registry, error) {
	return actions.NewRegistry(
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

// builtinNotifiers is every way to send messages.
func builtinNotifiers() []actions.NotifierPlugin {
	return []actions.NotifierPlugin{webhook.Plugin()}
}

// notifierCatalog tells the rules what can be configured under actions.
func notifierCatalog() rules.Catalog {
	var c rules.Catalog
	for _, p := range builtinNotifiers() {
		c = append(c, rules.ActionSpec{Name: p.Name, Params: params(p.Params), Check: func(params map[string]any) error {
			_, err := p.New(params)
			return err
		}})
	}
	return c
}

func params(in []actions.Param) []rules.Param {
	var out []rules.Param
	for _, q := range in {
		out = append(out, rules.Param{Name: q.Name, Type: rules.ParamType(q.Type), Doc: q.Doc, SecretFile: q.SecretFile})
	}
	return out
}

// catalog tells the rules what actions there are.
func catalog(registry *actions.Registry) rules.Catalog {
	var c rules.Catalog
	for _, p := range registry.All() {
		spec := rules.ActionSpec{
			Name: p.Name, Params: params(p.Params), Main: p.Main, OnProcess: p.OnProcess(), Single: p.Single(), NeedsCooldown: p.NeedsCooldown,
			Spares: p.Harmless || p.Gentle, Never: registry.Never(&p), Warn: p.Warn,
			Check: func(params map[string]any) error {
				_, err := p.New(params)
				return err
			},
		}
		for _, r := range p.Results {
			spec.Results = append(spec.Results, string(r))
		}
		c = append(c, spec)
	}
	return c
}
