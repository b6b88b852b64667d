package main

import (
	"context"
	"log/slog"
	"slices"

	"sockwarden/engine/catalog"
	"sockwarden/rules"
)

// loadOptions turns the flags into options for rules.Load.
func (a *app) loadOptions(trust bool) (rules.Options, error) {
	o := rules.Options{
		Paths: a.flags.rules.files, Only: a.flags.rules.only, NetNS: a.flags.rules.where(), Breaker: a.flags.breaker,
		Trust: trust, Catalog: catalog.New(a.actions), Notifiers: notifierCatalog(),
	}
	if slices.Contains(a.flags.rules.files, "") {
		return o, usagef("--rules: empty value; name a file, a directory or builtin")
	}
	for _, text := range a.flags.rules.vars {
		v, err := rules.ParseOverride(text)
		if err != nil {
			return o, usagef("--var: %v", err)
		}
		o.Vars = append(o.Vars, v)
	}
	return o, nil
}

// load reads the rules and logs their warnings.
func (a *app) load(ctx context.Context, trust bool) (*rules.Program, error) {
	return a.loadIn(ctx, trust, rules.Load)
}

// loadFor is load for a command that may act.
func (a *app) loadFor(ctx context.Context, live bool) (*rules.Program, error) {
	return a.loadIn(ctx, live, a.loadWay(ctx, live))
}

func (a *app) loadIn(ctx context.Context, trust bool, load loadWay) (*rules.Program, error) {
	o, err := a.loadOptions(trust)
	if err != nil {
		return nil, err
	}
	return a.loadBy(ctx, o, load)
}

type loadWay func(rules.Options) (*rules.Program, []string, error)

// loadWay is how to read the rules: a live command waits for files that somebody is
// writing.
func (a *app) loadWay(ctx context.Context, live bool) loadWay {
	if !live {
		return rules.Load
	}
	return func(o rules.Options) (*rules.Program, []string, error) {
		return rules.LoadSettled(ctx, o, func(why string) { a.log.Info("waiting for the rules to settle", "why", why) })
	}
}

func (a *app) loadBy(ctx context.Context, o rules.Options, load loadWay) (*rules.Program, error) {
	files := newRuleLoader(o)
	files.load = load
	p, _, err := files.next(ctx)
	if err != nil {
		return nil, err
	}
	level := slog.LevelWarn
	if a.flags.quiet && !o.Again {
		level = slog.LevelDebug // cron would mail them for ever
	}
	for _, w := range p.Warnings.First(5) { // rules check shows more
		a.log.Log(ctx, level, "rules", "warning", w.String())
	}
	return p, a.unrecorded(p)
}
