package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sockwarden/collectors/netns"
	"sockwarden/collectors/trust"
	"sockwarden/engine"
	"sockwarden/engine/doctor"
	"sockwarden/rules"
)

func (a *app) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor [flags]",
		Short: "Say what sockwarden could do on this host, and what it lacks",
		Long: `Looks at the kernel, the capabilities, /proc, cgroups, namespaces, the state file
and a pause, destroys a loopback connection that it makes itself, and says for
each rule what it could not do here. It takes --rules and --state-file as run
does. Exit code 0 only if a live run would work, otherwise 4: fail keeps it from
working, warn does not.`,
		Example: `  sudo sockwarden doctor
  sudo sockwarden doctor --rules rules.yaml --state-file /var/lib/sockwarden/state.json
  sockwarden doctor -o json | jq '.checks[] | select(.level != "ok")'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p, err := a.load(cmd.Context(), false)
			if err != nil {
				return err
			}
			plan := doctor.Plan{Program: p, Actions: a.actions, StateFile: a.flags.stateFile, PauseFiles: engine.PauseFiles()}
			checks := append(doctor.Run(cmd.Context(), &plan), secrets(p)...)
			checks = append(checks, a.ofLiveRuns(cmd.Context(), p)...)
			works := doctor.Works(checks)
			if a.flags.output != "table" {
				if err := a.encoder().Encode(map[string]any{"works": works, "checks": checks}); err != nil {
					return quietPipe(err)
				}
			} else {
				showChecks(a.stdout, checks)
			}
			if !works {
				return &exitError{code: exitForbidden, err: errors.New("a live run would not work here")}
			}
			return nil
		},
	}
	a.rulesFlags(cmd)
	a.outputFlag(cmd)
	a.stateFlag(cmd)
	return cmd
}

// ofLiveRuns says why a live run would refuse the rules, or could not look where they say.
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
		if _, err := netns.Select(name); err != nil {
			check := doctor.Check{Name: "netns " + name, Level: doctor.Fail, Detail: err.Error()}
			if missing, ok := errors.AsType[*netns.MissingError](err); ok {
				check.Cure = missing.Hint()
			}
			checks = append(checks, check)
		}
	}
	return checks
}

// showChecks prints a line for each check, wrapped, and what helps below it.
func showChecks(w io.Writer, checks []doctor.Check) {
	const columns = 76
	name := len("CHECK")
	for _, c := range checks {
		name = max(name, len(c.Name))
	}
	name = min(name, 20)
	indent := strings.Repeat(" ", len("LEVEL  ")+name+2)
	fmt.Fprintf(w, "LEVEL  %-*s  DETAIL\n", name, "CHECK")
	for _, c := range checks {
		first := fmt.Sprintf("%-5s  %-*s  ", c.Level, name, printable(c.Name))
		detail := wrapped(printable(c.Detail), columns-len(indent))
		if len(first) > len(indent) { // a long name has the line for itself
			fmt.Fprintln(w, strings.TrimRight(first, " "))
			first = indent
		}
		fmt.Fprintln(w, first+strings.Join(detail, "\n"+indent))
	}
	for _, c := range checks {
		if c.Cure != "" {
			fmt.Fprintln(w, strings.Join(wrapped(fmt.Sprintf("cure of %s: %s", printable(c.Name), printable(c.Cure)), columns), "\n  "))
		}
	}
}

// wrapped breaks text between words into lines of so many columns, if it can.
func wrapped(text string, columns int) (lines []string) {
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case len([]rune(line))+1+len([]rune(word)) > columns:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
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
