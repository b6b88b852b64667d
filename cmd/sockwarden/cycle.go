package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"

	"sockwarden/cmd/sockwarden/view"
	"sockwarden/collectors"
	"sockwarden/collectors/execsource"
	"sockwarden/engine"
	"sockwarden/engine/act"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// engine makes an engine according to the flags.
func (a *app) engine(o engine.Options) (*engine.Engine, error) {
	o.Sources, o.Logger, o.By = a.sources.All(), a.log, invoker()
	o.Notifiers = builtinNotifiers()
	o.NoPushdown, o.Owners = a.flags.look.noPushdown, world.OwnerSource(a.flags.look.owners)
	o.Events = engine.EventSource(a.flags.look.events)
	for _, program := range a.flags.look.collect {
		p, err := execsource.Plugin(program)
		if err != nil {
			return nil, usagef("--collect: %v", err)
		}
		o.Extra = append(o.Extra, p)
	}
	if a.flags.auditLog != "" {
		f, err := openLogFile(a.flags.auditLog)
		if err != nil {
			return nil, &exitError{code: exitUsage, err: fmt.Errorf("--audit-log: %w", err)}
		}
		a.auditLog, o.AuditLog = f, f
	}
	var err error
	if o.From, err = a.replayed(); err != nil {
		return nil, err
	}
	e, err := engine.New(o)
	if err != nil {
		return nil, err
	}
	return e, nil
}

func invoker() string {
	name := fmt.Sprintf("uid %d", os.Geteuid())
	if u, err := user.Current(); err == nil {
		name = u.Username
	}
	if sudo := os.Getenv("SUDO_USER"); sudo != "" {
		name += " (sudo: " + view.Printable(sudo) + ")"
	}
	return name
}

// preflight ends a live command before it acts, if its actions cannot work here.
func preflight(ctx context.Context, p *rules.Program) error {
	err := act.Preflight(ctx, p)
	if err == nil {
		return nil
	}
	hint := "run as root, for example with sudo"
	if os.Geteuid() == 0 {
		hint = "root lacks it here: give the process or its container the capability (sockwarden doctor lists them)"
	}
	if errors.Is(err, collectors.ErrNotSupported) {
		hint = "sockwarden doctor says what works here; a kernel with CONFIG_INET_DIAG and CONFIG_INET_DIAG_DESTROY can"
	}
	return &exitError{code: code(err), err: fmt.Errorf("cannot act: %w; nothing was done", err), hint: hint}
}
