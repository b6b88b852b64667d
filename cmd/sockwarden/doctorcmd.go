package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sockwarden/actions"
	"sockwarden/collectors/trust"
	"sockwarden/engine/doctor"
	"sockwarden/rules"
)

func (a *app) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [flags]",
		Short: "Say what sockwarden could do on this host, and what it lacks",
		Long: `Looks at the kernel, the capabilities, /proc, cgroups and namespaces, destroys a
loopback connection that it makes itself, and says for each rule what it could
not do here. Exit code 0 only if a live run would work, otherwise 4.`,
		Example: `  sudo sockwarden doctor
  sudo sockwarden doctor --rules rules.yaml
  sockwarden doctor -o json | jq '.checks[] | select(.level != "ok")'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.load(cmd.Context(), false)
			if err != nil {
				return err
			}
			checks := append(doctor.Run(cmd.Context(), p, a.usable), secrets(p)...)
			works := doctor.Works(checks)
			if a.flags.output != "table" {
				if err := a.encoder().Encode(map[string]any{"works": works, "checks": checks}); err != nil {
					return quietPipe(err)
				}
			} else {
				t := newTable("LEVEL", "CHECK", "DETAIL")
				for _, c := range checks {
					t.row(string(c.Level), c.Name, c.Detail)
				}
				t.write(a.stdout)
				for _, c := range checks {
					if c.Cure != "" {
						fmt.Fprintf(a.stdout, "cure of %s: %s\n", c.Name, c.Cure)
					}
				}
			}
			if !works {
				return &exitError{code: exitForbidden, err: errors.New("a live run would not work here")}
			}
			return nil
		},
	}
	a.rulesFlags(cmd)
	a.outputFlag(cmd)
	return cmd
}

// secrets looks at the files with secrets that notifiers read.
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

// usable returns why a rung could not be done on any target of this host.
func (a *app) usable(rung *rules.Rung) error {
	plugin, err := a.actions.Get(rung.Action)
	if err != nil {
		return fmt.Errorf("rules and actions disagree: %w", err)
	}
	action, err := plugin.New(rung.Params)
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	if d, ok := action.(actions.Dependent); ok {
		return d.Usable()
	}
	return nil
}
