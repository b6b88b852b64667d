package main

import (
	"strings"

	"github.com/spf13/cobra"

	"sockwarden/cmd/sockwarden/view"
	"sockwarden/engine"
	"sockwarden/rules"
)

// options are the values of the flags that several commands have.
type options struct {
	rules     ruleOptions
	look      lookOptions
	log       logOptions
	output    string
	quiet     bool
	stateFile string
	auditLog  string
	from      string         // a recording, "" for this host
	breaker   *rules.Breaker // nil for the breaker of the rules
}

// state is the state file, "" for none.
func (o *options) state() string {
	if o.stateFile == "none" {
		return ""
	}
	return o.stateFile
}

// ruleOptions say which rules count, and where.
type ruleOptions struct {
	files []string
	only  []string
	vars  []string
	netns []string
}

// where says which network namespaces to look at, "" for those that the rules name.
func (o *ruleOptions) where() string { return strings.Join(o.netns, ",") }

// lookOptions say how to look, where that is not left to the program.
type lookOptions struct {
	collect    []string
	noPushdown bool
	owners     string
	events     string
}

// logOptions say what to log, where and how.
type logOptions struct {
	verbose bool
	file    string
	format  string
	noColor bool
}

// declare declares the flags of a command. Flags of several commands are here, so each
// has one name and one meaning.
type declare struct {
	app *app
	cmd *cobra.Command
}

// cycle declares the flags of every command that runs cycles of the rules.
func (d declare) cycle() {
	d.rules()
	d.output()
	d.state()
	d.collect()
	d.auditLog()
	d.tuning()
	d.events()
	d.breaker()
}

func (d declare) logs() {
	f, o := d.cmd.PersistentFlags(), &d.app.flags.log
	f.BoolVarP(&o.verbose, "verbose", "v", false, "log more (debug level)")
	f.StringVar(&o.file, "log-file", "", "write logs to this `FILE` instead of stderr; reopened on SIGHUP")
	f.StringVar(&o.format, "log-format", "text", "`FORMAT` of logs: text or json")
	f.BoolVar(&o.noColor, "no-color", false, "no colours (also: NO_COLOR in the environment)")
}

func (d declare) rules() {
	d.ruleFiles("rules `FILE`, directory, or builtin; repeatable (default: " + rules.DefaultDir + ", or builtin if that does not exist)")
	d.cmd.Flags().Var(commaList{&d.app.flags.rules.only}, "rule", "only the rule of this `NAME`, or several with commas; repeatable")
	d.complete("rule", completion{d.app}.rules)
	d.vars()
	d.netns()
}

// ruleFiles declares --rules, which does not mean the same for every command.
func (d declare) ruleFiles(usage string) {
	d.cmd.Flags().StringArrayVar(&d.app.flags.rules.files, "rules", nil, usage)
	d.complete("rules", completeRulesFiles)
}

func (d declare) vars() {
	d.cmd.Flags().StringArrayVar(&d.app.flags.rules.vars, "var", nil, "set a variable of the rules: `NAME=VALUE`, or NAME+=VALUE to add to a list; repeatable")
	d.complete("var", completion{d.app}.vars)
}

func (d declare) netns() {
	d.cmd.Flags().Var(namespaceList{&d.app.flags.rules.netns}, "netns",
		"network `NAMESPACES` to look at: host, all, names or patterns (docker-*), also of containers, paths, PIDs; repeatable")
	d.complete("netns", completeNetNS)
}

func (d declare) output() {
	d.cmd.Flags().StringVarP(&d.app.flags.output, "output", "o", "table", "`FORMAT` of the result: table, json or jsonl")
	d.complete("output", fixed("table", "json", "jsonl"))
}

func (d declare) quiet(usage string) {
	d.cmd.Flags().BoolVarP(&d.app.flags.quiet, "quiet", "q", false, usage)
}

func (d declare) state() {
	d.cmd.Flags().StringVar(&d.app.flags.stateFile, "state-file", engine.DefaultStateFile(), "`FILE` that keeps ages and cool-downs between runs, or none")
}

func (d declare) collect() {
	d.cmd.Flags().StringArrayVar(&d.app.flags.look.collect, "collect", nil,
		"also take records that this `PROGRAM` prints as JSON lines; absolute path, repeatable")
}

func (d declare) auditLog() {
	d.cmd.Flags().StringVar(&d.app.flags.auditLog, "audit-log", "", "append a JSON line for each decision and outcome to this `FILE`; reopened on SIGHUP")
}

// tuning declares the flags that show whether a shortcut is at fault.
func (d declare) tuning() {
	d.cmd.Flags().BoolVar(&d.app.flags.look.noPushdown, "no-pushdown", false, "read every socket instead of letting the kernel filter (for troubleshooting)")
	d.cmd.Flags().StringVar(&d.app.flags.look.owners, "owners", "auto", "find owners by this `WAY`: bpf, proc, or auto for the faster one")
	d.complete("owners", fixed("auto", "bpf", "proc"))
}

// events is for commands that act by ages.
func (d declare) events() {
	d.cmd.Flags().StringVar(&d.app.flags.look.events, "events", "auto",
		"let the kernel tell when sockets enter their states (`WHEN`: on, off, or auto for watch only)")
	d.complete("events", fixed("auto", "on", "off"))
}

// breaker is for commands that act on the findings of rules.
func (d declare) breaker() {
	d.cmd.Flags().Var(breakerLimits{&d.app.flags.breaker}, "breaker",
		"act on nothing if there would be more living targets than `COUNT[/SHARE%]|off`; overrides the rules")
	d.complete("breaker", fixed("500/30%", "off"))
}

func (d declare) allowUnknown(value *bool, usage string) {
	d.cmd.Flags().BoolVar(value, "allow-unknown-owner", false, usage)
}

const alsoUnknown = "also act on sockets whose owner exists but cannot be read"

// rows is for commands that show reports.
func (d declare) rows(rows *view.Rows) {
	d.cmd.Flags().BoolVar(&rows.Each, "each", false, "one line for each socket")
	d.cmd.Flags().BoolVar(&rows.All, "all", false, "all groups, not only the first 20")
}

// live is for commands that act when told to.
func (d declare) live(live, dry *bool) {
	d.cmd.Flags().BoolVar(live, "live", false, "act")
	d.cmd.Flags().BoolVarP(dry, "dry-run", "n", false, "do not act (the default)")
}

// complete registers a completer for a flag of the command.
func (d declare) complete(flag string, f completer) {
	if err := d.cmd.RegisterFlagCompletionFunc(flag, f); err != nil {
		panic(err) // no such flag: a mistake in this program
	}
}
