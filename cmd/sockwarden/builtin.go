package main

import (
	"log/slog"
	"slices"

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
		spec := rules.ActionSpec{Params: params(p.Params), Name: p.Name, Main: p.Main, NeedsCooldown: p.NeedsCooldown, OnProcess: p.OnProcess, Single: p.Single, Check: func(params map[string]any) error {
			_, err := p.New(params)
			return err
		}}
		for _, r := range p.Results {
			spec.Results = append(spec.Results, string(r))
		}
		if why := withoutProtected(&p); why != "" {
			spec.Never = map[string]string{"protected": why}
		}
		spec.Spares, spec.Warn = p.Harmless || p.Gentle, p.Warn
		c = append(c, spec)
	}
	return c
}

// withoutProtected says why an action has no opt-in for protected processes, "" if it
// has.
func withoutProtected(p *actions.Plugin) string {
	switch {
	case slices.ContainsFunc(p.Params, func(q actions.Param) bool { return q.Name == "protected" }):
		return ""
	case p.Harmless:
		return "it changes nothing, and guards are not for it"
	case p.Gentle:
		return "it takes nothing from a connection that lives, and is done for those of protected processes, too"
	}
	return "only what acts on one connection can be let at those of protected processes: destroy, abort and shutdown"
}
