package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sockwarden/cmd/sockwarden/view"
	"sockwarden/collectors/netns"
	"sockwarden/collectors/trust"
	"sockwarden/engine/doctor"
	"sockwarden/engine/pause"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

func doctorCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [flags]",
		Short: "Say what sockwarden could do on this host, and what it lacks",
		Long: `Checks the kernel, the capabilities, /proc, cgroups, namespaces, the state file
and a pause, destroys a loopback connection of its own, and says what each rule
could not do here. --rules and --state-file mean the same as for run. The exit
code is 0 only if a live run would work, otherwise 4: a fail prevents it from
working, a warn does not.`,
		Example: `  sudo sockwarden doctor
  sudo sockwarden doctor --rules rules.yaml --state-file /var/lib/sockwarden/state.json
  sockwarden doctor -o json | jq '.checks[] | select(.level != "ok")'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.load(cmd.Context(), false)
			if err != nil {
				return err
			}
			plan := doctor.Plan{Program: p, Actions: a.actions, StateFile: a.flags.state(), PauseFiles: pause.Files(), Silences: a.silences()}
			checks := append(doctor.Run(cmd.Context(), &plan), secrets(p)...)
			checks = append(checks, a.ofLiveRuns(cmd.Context(), p)...)
			if err := view.Checks(a.out(), checks); err != nil {
				return quietPipe(err)
			}
			if !doctor.Works(checks) {
				return &exitError{code: exitForbidden, err: errors.New("a live run would not work here")}
			}
			return nil
		},
	}
	d := declare{a, cmd}
	d.rules()
	d.output()
	d.state()
	return cmd
}

// ofLiveRuns says why a live run would refuse the rules, or could not look where they
// want.
func (a *app) ofLiveRuns(ctx context.Context, p *rules.Program) []doctor.Check {
	var checks []doctor.Check
	o, err := a.loadOptions(true)
	if err == nil {
		_, _, err = newRuleLoader(o).next(ctx)
	}
	if err != nil {
		text, cure, _ := strings.Cut(err.Error(), "; cure: ")
		checks = append(checks, doctor.Check{Name: "rules", Level: doctor.Fail, Detail: text, Cure: cure})
	}
	for _, name := range p.NetNS {
		if _, err := world.FindNamespaces(ctx, name); err != nil {
			check := doctor.Check{Name: "netns " + name, Level: doctor.Fail, Detail: err.Error()}
			if world.IsPattern(name) { // what it means may come yet
				check.Level = doctor.Warn
			}
			if missing, ok := errors.AsType[*netns.MissingError](err); ok {
				check.Cure = missing.Hint()
			}
			checks = append(checks, check)
		}
	}
	return checks
}

// secrets checks the files with secrets that notifiers read.
func secrets(p *rules.Program) []doctor.Check {
	var checks []doctor.Check
	catalog := notifierCatalog()
	for _, name := range sorted(p.Notifiers) {
		n := p.Notifiers[name]
		i := slices.IndexFunc(catalog, func(s rules.ActionSpec) bool { return s.Name == n.Plugin })
		for _, q := range catalog[i].Params {
			path, _ := n.Params[q.Name].(string)
			if !q.SecretFile || path == "" {
				continue
			}
			c := doctor.Check{Name: "notifier " + name, Level: doctor.OK, Detail: q.Name + " " + path}
			if err := new(trust.Checker).Secret(path); err != nil {
				text, cure, _ := strings.Cut(err.Error(), "; cure: ")
				c.Level, c.Detail, c.Cure = doctor.Warn, fmt.Sprintf("%s %s: %s", q.Name, path, strings.TrimPrefix(text, "open "+path+": ")), cure
			}
			checks = append(checks, c)
		}
	}
	return checks
}
