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
	"sockwarden/collectors/procnet"
	"sockwarden/collectors/sockdiag"
	"sockwarden/engine/catalog"
	"sockwarden/rules"
)

// builtinCollectors lists every source of records, in the order in which to try them.
func builtinCollectors() (*collectors.Registry, error) {
	return collectors.NewRegistry(
		sockdiag.Plugin(),
		procnet.Plugin(),
	)
}

// builtinActions lists every action that rules can name.
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

// builtinNotifiers lists every way to send messages.
func builtinNotifiers() []actions.NotifierPlugin {
	return []actions.NotifierPlugin{webhook.Plugin(), exec.Notifier()}
}

// notifierCatalog tells the rules what can be configured under actions.
func notifierCatalog() rules.Catalog {
	var c rules.Catalog
	for _, p := range builtinNotifiers() {
		c = append(c, rules.ActionSpec{Name: p.Name, Doc: p.Summary, Params: catalog.Params(p.Params), Bind: func(params map[string]any) (any, error) {
			return p.New(params)
		}})
	}
	return c
}
