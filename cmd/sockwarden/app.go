package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/collectors/execsource"
	"sockwarden/engine"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// app is one invocation: its streams, its flags, its log.
type app struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	flags   commonFlags
	log     *slog.Logger
	logFile *logFile
	// auditLog is set while an engine writes one.
	auditLog *logFile
	actions  *actions.Registry
	sources  *collectors.Registry
}

// commonFlags are flags that several commands have.
type commonFlags struct {
	rules     []string
	only      []string
	vars      []string
	netns     string
	output    string
	verbose   bool
	quiet     bool
	logFile   string
	logFormat string
	noColor   bool
	stateFile string
	auditLog  string
	collect   []string
	// How it is looked, where that is not left to the program.
	noPushdown bool
	owners     string
	events     string
	breaker    *rules.Breaker // nil for that of the rules
}

func (a *app) close() {
	for _, f := range []*logFile{a.logFile, a.auditLog} {
		if f != nil {
			f.close()
		}
	}
}

// root builds the tree of commands.
func (a *app) root() *cobra.Command {
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
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
		PersistentPreRunE: func(*cobra.Command, []string) error { return a.setup() },
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetFlagErrorFunc(flagError)
	a.logFlags(root.PersistentFlags())
	root.AddCommand(a.listCommand(), a.killCommand(), a.auditCommand(), a.runCommand(), a.watchCommand(),
		a.pauseCommand(), a.resumeCommand(), a.notifyCommand(), a.rulesCommand(), a.pluginsCommand(), a.doctorCommand(), a.versionCommand(), completionCommand())
	for _, c := range root.Commands() {
		c.DisableFlagsInUseLine = true
	}
	return root
}

func (a *app) logFlags(f *pflag.FlagSet) {
	f.BoolVarP(&a.flags.verbose, "verbose", "v", false, "log more (debug level)")
	f.StringVar(&a.flags.logFile, "log-file", "", "write logs to this `FILE` instead of stderr; reopened on SIGHUP")
	f.StringVar(&a.flags.logFormat, "log-format", "text", "`FORMAT` of logs: text or json")
	f.BoolVar(&a.flags.noColor, "no-color", false, "no colours (also: NO_COLOR in the environment)")
}

func (a *app) rulesFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&a.flags.rules, "rules", nil, "rules `FILE`, directory, or builtin; repeatable (default: "+rules.DefaultDir+", or builtin if that does not exist)")
	f.StringArrayVar(&a.flags.only, "rule", nil, "only the rule of this `NAME`; repeatable")
	a.varFlag(cmd)
	a.netnsFlag(cmd)
	complete(cmd, "rules", completeRulesFiles)
	complete(cmd, "rule", a.completeRules)
}

func (a *app) varFlag(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&a.flags.vars, "var", nil, "set a variable of the rules: `NAME=VALUE`, or NAME+=VALUE to add to a list; repeatable")
	complete(cmd, "var", a.completeVars)
}

func (a *app) netnsFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.flags.netns, "netns", "", "network `NAMESPACES` to look at: host, all, or names separated by commas")
	complete(cmd, "netns", completeNetNS)
}

func (a *app) outputFlag(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&a.flags.output, "output", "o", "table", "`FORMAT` of the result: table, json or jsonl")
	complete(cmd, "output", fixed("table", "json", "jsonl"))
}

func (a *app) stateFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.flags.stateFile, "state-file", engine.DefaultStateFile(), "`FILE` that keeps ages and cool-downs between runs")
}

func (a *app) collectFlag(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&a.flags.collect, "collect", nil, "also take records that this `PROGRAM` prints as JSON lines; absolute path, repeatable")
}

func (a *app) auditLogFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.flags.auditLog, "audit-log", "", "append a JSON line for each decision and outcome to this `FILE`; reopened on SIGHUP")
}

// tuningFlags are for finding out whether a shortcut is at fault.
func (a *app) tuningFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&a.flags.noPushdown, "no-pushdown", false, "read every socket instead of letting the kernel filter (for troubleshooting)")
	cmd.Flags().StringVar(&a.flags.owners, "owners", "auto", "find owners by this `WAY`: bpf, proc, or auto for what is faster")
	complete(cmd, "owners", fixed("auto", "bpf", "proc"))
}

// eventsFlag is for commands that act by ages.
func (a *app) eventsFlag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.flags.events, "events", "auto", "let the kernel tell when sockets enter their states (`WHEN`: on, off, or auto for watch only)")
	complete(cmd, "events", fixed("auto", "on", "off"))
}

// breakerFlag is for commands that act on what rules find.
func (a *app) breakerFlag(cmd *cobra.Command) {
	cmd.Flags().Var(breakerLimits{&a.flags.breaker}, "breaker", "act on nothing if it would be on more living targets than `COUNT[/SHARE%]|off`; wins over the rules")
	complete(cmd, "breaker", fixed("500/30%", "off"))
}

// setup opens the log and builds the registries, before any command runs.
func (a *app) setup() error {
	if err := oneOf("--output", a.flags.output, "", "table", "json", "jsonl"); err != nil {
		return err
	}
	if err := oneOf("--log-format", a.flags.logFormat, "text", "json"); err != nil {
		return err
	}
	if err := oneOf("--owners", a.flags.owners, "", "auto", "bpf", "proc"); err != nil {
		return err
	}
	if err := oneOf("--events", a.flags.events, "", "auto", "on", "off"); err != nil {
		return err
	}
	if a.flags.quiet && a.flags.verbose {
		return usagef("-q and -v exclude each other")
	}
	if err := a.openLog(); err != nil {
		return err
	}
	var err error
	if a.actions, err = builtinActions(a.log); err != nil {
		return err
	}
	a.sources, err = builtinCollectors()
	return err
}

func oneOf(flag, value string, allowed ...string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return usagef("%s: unknown value %q%s: it is %s", flag, value, rules.Suggest(value, allowed), strings.Trim(strings.Join(allowed, ", "), ", "))
}

// loadOptions turns the flags into options for rules.Load.
func (a *app) loadOptions(trust bool) (rules.Options, error) {
	o := rules.Options{Paths: a.flags.rules, Only: a.flags.only, NetNS: a.flags.netns, Breaker: a.flags.breaker, Trust: trust, Catalog: engine.Catalog(a.actions), Notifiers: notifierCatalog()}
	if slices.Contains(a.flags.rules, "") {
		return o, usagef("--rules: empty value; name a file, a directory or builtin")
	}
	for _, text := range a.flags.vars {
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

// loadWay is how rules are read: a live command waits for files that somebody is
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
	for _, w := range p.Warnings.First(5) { // rules check shows more
		a.log.Warn("rules", "warning", w.String())
	}
	return p, nil
}

// engine makes an engine with the flags.
func (a *app) engine(o engine.Options) (*engine.Engine, error) {
	o.Sources, o.Logger, o.By = a.sources.All(), a.log, invoker()
	o.Notifiers = builtinNotifiers()
	o.NoPushdown, o.Owners = a.flags.noPushdown, world.OwnerSource(a.flags.owners)
	o.Events = engine.EventSource(a.flags.events)
	for _, program := range a.flags.collect {
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
		name += " (sudo: " + printable(sudo) + ")"
	}
	return name
}

// preflight ends a live command before it acts if it could not.
func preflight(ctx context.Context, p *rules.Program) error {
	err := engine.Preflight(ctx, p)
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

// duration is a flag that takes times as rules files do.
type duration struct{ value *time.Duration }

func (d duration) String() string {
	if d.value == nil || *d.value == 0 {
		return ""
	}
	return d.value.String()
}

func (d duration) Set(text string) error {
	v, err := rules.ParseDuration(text)
	*d.value = v
	return err
}

func (duration) Type() string { return "duration" }

// breakerLimits is a flag that takes the limits of the breaker.
type breakerLimits struct{ value **rules.Breaker }

func (b breakerLimits) String() string {
	if b.value == nil || *b.value == nil {
		return ""
	}
	return (*b.value).String()
}

func (b breakerLimits) Set(text string) error {
	v, err := rules.ParseBreaker(text)
	*b.value = &v
	return err
}

func (breakerLimits) Type() string { return "limits" }
