package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"sockwarden/actions"
	"sockwarden/cmd/sockwarden/view"
	"sockwarden/collectors"
	"sockwarden/engine/recording"
	"sockwarden/rules"
)

// app is one invocation: its streams, its flags, its log.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	flags   options
	log     *slog.Logger
	logFile *logFile
	// auditLog is set while an engine writes to one.
	auditLog *logFile
	actions  *actions.Registry
	sources  *collectors.Registry
	replay   *recording.World // of --from, once it is read
}

// out is stdout in the requested format.
func (a *app) out() view.Out { return a.outTo(a.stdout) }

// outTo is a stream in the requested format, as wide as its terminal.
func (a *app) outTo(w io.Writer) view.Out {
	o := view.Out{W: w, Format: view.Format(a.flags.output), Color: a.colors(w)}
	if f, ok := w.(*os.File); ok && isTerminal(w) {
		o.Wrap = true
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil {
			o.Width = columns // 0 if the terminal does not say
		}
	}
	return o
}

func (a *app) close() {
	for _, f := range []*logFile{a.logFile, a.auditLog} {
		if f != nil {
			f.close()
		}
	}
}

// root builds the command tree.
func (a *app) root() *cobra.Command {
	version := false
	root := &cobra.Command{
		Use:   "sockwarden",
		Short: "Find hung and unwanted sockets by rules, and cure them",
		Long: `sockwarden decides by rules which sockets of this host are hung or unwanted,
and cures them: it destroys the socket, signals its process, or, in a dry run,
only says what it would do. Nothing acts without --live (run, watch) or a
confirmation (kill).`,
		Example: `  sockwarden audit                       # what the built-in rules would do here
  sockwarden list 'state == "CLOSE_WAIT" && age > "5m"'
  sudo sockwarden run --live -q          # what cron runs, by its full path
  sudo sockwarden watch --live           # with hot reload of the rules`,
		SilenceErrors: true, SilenceUsage: true,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 0:
				return unknownCommand(cmd, args[0])
			case version:
				return a.printVersion()
			}
			return cmd.Help()
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(emptyValues(cmd), recordingOnly(cmd)); err != nil {
				return err
			}
			return a.setup()
		},
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetFlagErrorFunc(flagError)
	root.Flags().BoolVar(&version, "version", false, "print the version, as the command does")
	declare{a, root}.logs()
	root.AddCommand(listCommand(a), killCommand(a), auditCommand(a), runCommand(a), watchCommand(a), pauseCommand(a), resumeCommand(a), statusCommand(a), reloadCommand(a),
		silenceCommand(a), notifyCommand(a), recordCommand(a), rulesCommand(a), pluginsCommand(a), doctorCommand(a), versionCommand(a), completionCommand())
	root.SetHelpCommand(helpCommand())
	plainUseLines(root)
	return root
}

// plainUseLines keeps cobra from adding what the use lines already say.
func plainUseLines(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		c.DisableFlagsInUseLine = true
		plainUseLines(c)
	}
}

// setup opens the log and builds the registries before any command runs.
func (a *app) setup() error {
	for _, f := range []struct {
		flag, value string
		allowed     []string
	}{
		{"--output", a.flags.output, []string{"", "table", "json", "jsonl"}},
		{"--log-format", a.flags.log.format, []string{"text", "json"}},
		{"--owners", a.flags.look.owners, []string{"", "auto", "bpf", "proc"}},
		{"--events", a.flags.look.events, []string{"", "auto", "on", "off"}},
	} {
		if err := oneOf(f.flag, f.value, f.allowed); err != nil {
			return err
		}
	}
	if a.flags.quiet && a.flags.log.verbose {
		return usagef("-q and -v exclude each other")
	}
	if err := a.openLog(); err != nil {
		return err
	}
	var err error
	if a.actions, err = builtinActions(a.log); err != nil {
		return err
	}
	if a.flags.from != "" {
		if a.actions, err = actions.NewRegistry(recording.Actions(a.actions.All()...)...); err != nil {
			return fmt.Errorf("actions: %w", err)
		}
	}
	a.sources, err = builtinCollectors()
	return err
}

func oneOf(flag, value string, allowed []string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return usagef("%s: unknown value %q%s: it is %s", flag, value, rules.Suggest(value, allowed), strings.Trim(strings.Join(allowed, ", "), ", "))
}
