package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sockwarden/cmd/sockwarden/view"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/rules"
)

// list holds the flags of the command.
type list struct {
	app     *app
	sel     selectors
	by      string
	columns string
	sort    string
	top     int
	dead    bool
	// makeRule is the name of the rule to make, and makeTest that of the test; makes and
	// tests say that one is asked for.
	makeRule, makeTest string
	makes, tests       bool
	anonymise          bool // the test
}

func listCommand(app *app) *cobra.Command {
	l := &list{app: app}
	cmd := &cobra.Command{
		Use:   "list [EXPR] [flags]",
		Short: "List sockets, like ss, filtered by an expression and selectors",
		Long: `Lists the sockets that match EXPR and all selectors: every state of TCP and UDP,
listeners included, unless something is selected; MPTCP only with --proto mptcp or
if EXPR reads protocol: its subflows are TCP sockets with its mptcp_token. EXPR is
a condition as in a rules file ("sockwarden rules fields" lists what it can read).
It never acts. If several processes hold a socket, EXPR must be true for each of
them, and --pid, --process, --container and --unit for one. It looks where kill does:
at the host's network namespace, with --container or -p rustdesk in all of them.

Ages are proven bounds: 3h12m is exact, >=3h12m a lower bound, ? is unknown.

With --dead it lists the processes that still hold descriptors of connections which
the kernel has ended (destroyed, reset, timed out): no other tool shows these.

With --make-rule it prints a rules file for what is selected, to go on with: one
rule that only observes. With --make-test it prints a test file for "sockwarden
rules test": these sockets, and what the rules say of them now. Sockets that are
alike are one case of it. --anonymise replaces addresses and names.`,
		Example: `  sudo sockwarden list -s established -p rustdesk
  sudo sockwarden list 'state == "CLOSE_WAIT" && age > "5m"' --sort -age
  sudo sockwarden list -p 21118 --by state,process
  sudo sockwarden list --container hbbs --by state
  sockwarden list --columns state,port,remote_addr,recv_queue -o jsonl
  sockwarden list 'remote_addr in ["203.0.113.0/24"]' --top 20 --sort -send_queue
  sudo sockwarden list -p 21118 -s close_wait --make-rule hbbs-leak > hbbs-leak.yaml
  sudo sockwarden list -p 21118 --make-test hbbs-leak > hbbs-leak_test.yaml`,
		Args: oneExpr,
		RunE: func(cmd *cobra.Command, args []string) error {
			l.makes, l.tests = cmd.Flags().Changed("make-rule"), cmd.Flags().Changed("make-test")
			return l.run(cmd.Context(), args)
		},
	}
	d := declare{app, cmd}
	l.sel.register(d)
	f := cmd.Flags()
	f.StringVar(&l.by, "by", "", "group by these `FIELDS` and count")
	f.StringVar(&l.columns, "columns", "", "show these `FIELDS`")
	f.StringVar(&l.sort, "sort", "", "sort by this `FIELD`, with --by also by count; descending with a minus before it")
	f.IntVar(&l.top, "top", 0, "only the first `N`")
	f.BoolVar(&l.dead, "dead", false, "count, by process, the descriptors of connections that the kernel has ended")
	f.StringVar(&l.makeRule, "make-rule", "", "print a rules file with a rule of this `NAME` for what is selected")
	f.StringVar(&l.makeTest, "make-test", "", "print a test file with a test of this `NAME`: these sockets, and what the rules say of them")
	f.BoolVar(&l.anonymise, "anonymise", false, "in that test, replace addresses and names by random ones; equal ones stay equal")
	d.complete("by", completeFields)
	d.complete("columns", completeFields)
	d.complete("sort", completeSort)
	d.ruleFiles("rules `FILE` whose sets can be named, and which --make-test tests; repeatable (default as for audit)")
	d.netns()
	d.output()
	d.state()
	d.collect()
	d.tuning()
	d.from()
	return cmd
}

func (l *list) run(ctx context.Context, args []string) error {
	if l.dead {
		return l.listDead(ctx, args)
	}
	switch {
	case l.makes && l.tests:
		return usagef("--make-rule and --make-test print one file each: give one of them")
	case l.anonymise && !l.tests:
		return usagef("--anonymise is for --make-test: sockwarden record --anonymise makes a recording to list")
	case l.makes:
		return l.listRule(ctx, args)
	case l.tests:
		return l.listTest(ctx, args)
	}
	if l.by != "" && l.columns != "" {
		return usagef("--by and --columns exclude each other")
	}
	if l.top < 0 {
		return usagef("--top: %d is negative", l.top)
	}
	by, err := parseFields("--by", l.by)
	if err != nil {
		return err
	}
	asked, holders := withHolders(l.columns)
	columns, err := parseFields("--columns", asked)
	if err != nil {
		return err
	}
	sorting, err := l.sorting(by)
	if err != nil {
		return err
	}
	out := l.app.out()
	reads := view.ListReads.Or(collectors.Fields(slices.Concat(by, columns, sorting.fields)...))
	var shows collectors.FieldSet
	if len(by)+len(columns) == 0 {
		shows = view.PlaceReads
	}
	if out.Format != view.Text {
		reads.Add(collectors.ListenerFields().Or(collectors.InterfaceFields()))
	}
	sockets, r, err := l.sockets(ctx, args, reads, shows)
	if err != nil {
		return err
	}
	l.app.reportErrors(r, false)
	if len(by) > 0 {
		err = view.By(out, sockets, &view.Grouping{Fields: by, Sort: sorting.name, Descending: sorting.descending, Top: l.top, Report: r})
	} else {
		for _, f := range sorting.fields {
			view.Sort(sockets, f, sorting.descending)
		}
		err = view.List(out, &view.Listing{Sockets: sockets, Columns: columns, Holders: holders, Top: l.top, Report: r})
	}
	return unopened(r, quietPipe(err))
}

// listDead is list --dead.
func (l *list) listDead(ctx context.Context, args []string) error {
	if len(args) > 0 || l.by+l.columns+l.sort != "" || l.makes || l.tests || l.sel.given() {
		return usagef("--dead is about processes: it takes no expression, selector, --by, --columns, --sort, --make-rule or --make-test")
	}
	if l.top < 0 {
		return usagef("--top: %d is negative", l.top)
	}
	e, err := l.app.engine(engine.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer e.Close()
	dead, unseen, err := e.Dead(ctx)
	if err != nil {
		return fmt.Errorf("dead sockets: %w", err)
	}
	return quietPipe(view.Dead(l.app.out(), dead, unseen, l.top))
}

// sorting is the value of --sort.
type sorting struct {
	fields     []collectors.Field // none or one
	name       string             // of the field, or count
	descending bool
}

// sorting reads --sort: a field, or for groups one of their columns.
func (l *list) sorting(by []collectors.Field) (sorting, error) {
	name, descending := strings.CutPrefix(strings.TrimSpace(l.sort), "-")
	s := sorting{name: name, descending: descending}
	switch {
	case name == "" && descending:
		return s, usagef("--sort: empty value; give one, or leave it out")
	case name == "":
		return s, nil
	case strings.Contains(name, ","):
		return s, usagef("--sort takes one field")
	case len(by) == 0:
		fields, err := parseFields("--sort", name)
		s.fields = fields
		return s, err
	}
	if f, ok := collectors.FieldByName(name); ok {
		s.name = f.String() // it may be an alias
	}
	if known := (&view.Grouping{Fields: by}).SortNames(); !slices.Contains(known, s.name) {
		return s, usagef("--sort: groups have no %q%s: they have %s", name, rules.Suggest(name, known), strings.Join(known, ", "))
	}
	return s, nil
}

// sockets collects what an expression and selectors select. It must know the fields in
// reads, and those in shows as far as possible.
func (l *list) sockets(ctx context.Context, args []string, reads, shows collectors.FieldSet) ([]*engine.Candidate, *engine.Report, error) {
	sets, err := l.sets(ctx, args)
	if err != nil {
		return nil, nil, err
	}
	return l.look(ctx, args, sets, reads, shows)
}

// look is sockets for which the sets have been read.
func (l *list) look(
	ctx context.Context, args []string, sets map[string]*rules.Set, reads, shows collectors.FieldSet,
) ([]*engine.Candidate, *engine.Report, error) {
	parts, err := l.sel.condition(sets)
	if err != nil {
		return nil, nil, err
	}
	text, err := join(args, parts, sets)
	if err != nil {
		return nil, nil, err
	}
	owner, err := l.sel.owner()
	if err != nil {
		return nil, nil, err
	}
	p, err := rules.NewSelection(rules.Selection{
		Name: "list", Text: text, Owner: owner, Sets: sets, Mode: rules.ModeObserve, NetNS: l.sel.netns(l.app.flags.rules.where(), sets), Reads: reads,
	})
	if err != nil {
		return nil, nil, &exitError{code: exitUsage, err: err}
	}
	if err := l.app.unrecorded(p); err != nil {
		return nil, nil, err
	}
	e, err := l.app.engine(engine.Options{StateFile: l.app.flags.state(), ReadOnly: true, Shows: shows})
	if err != nil {
		return nil, nil, err
	}
	defer e.Close()
	r, err := e.Look(ctx, p)
	if err != nil {
		return nil, nil, err
	}
	sockets := make([]*engine.Candidate, len(r.Findings))
	for i, f := range r.Findings {
		sockets[i] = f.Candidate
		l.sel.namedFirst(f.Candidate)
	}
	slices.SortStableFunc(sockets, bySocket)
	return sockets, r, nil
}

// bySocket orders sockets as list shows them.
func bySocket(x, y *engine.Candidate) int {
	return cmp.Or(cmp.Compare(x.Socket.Protocol, y.Socket.Protocol), cmp.Compare(x.Socket.State, y.Socket.State),
		cmp.Compare(x.Socket.LocalPort, y.Socket.LocalPort), cmp.Compare(x.Socket.RemotePort, y.Socket.RemotePort))
}

// sets returns the sets that an expression and selectors can name: those of the rules, as
// for kill. If the rules cannot be read and the user did not ask for them, it warns and
// returns only the built-in sets.
func (l *list) sets(ctx context.Context, args []string) (map[string]*rules.Set, error) {
	if len(args) == 0 && len(l.app.flags.rules.files) == 0 && !l.sel.namesSets() {
		return rules.BuiltinSets(), nil
	}
	o, err := l.app.loadOptions(false)
	if err != nil {
		return nil, err
	}
	p, _, err := newRuleLoader(o).next(ctx)
	switch {
	case err == nil:
		return p.Sets, nil
	case len(l.app.flags.rules.files) > 0, ctx.Err() != nil:
		return nil, err
	}
	l.app.log.Warn("the rules have errors, only the built-in sets are known", "hint", "sockwarden rules check")
	return rules.BuiltinSets(), nil
}

// withHolders removes from column names the one that is not a field: owner_processes, all
// processes that hold a socket.
func withHolders(columns string) (others string, holders bool) {
	names := strings.Split(columns, ",")
	rest := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return strings.TrimSpace(n) == view.HoldersColumn })
	return strings.Join(rest, ","), len(rest) < len(names)
}

func parseFields(flag, list string) ([]collectors.Field, error) {
	var fields []collectors.Field
	if list == "" {
		return nil, nil
	}
	for name := range strings.SplitSeq(list, ",") {
		f, ok := collectors.FieldByName(strings.TrimSpace(name))
		if !ok {
			return nil, unknownField(flag+": ", name)
		}
		fields = append(fields, f)
	}
	return fields, nil
}

// unknownField is the error of a name that is no field, with what there is.
func unknownField(where, name string) error {
	return &exitError{
		code: exitUsage, err: fmt.Errorf("%sunknown field %q%s", where, name, rules.Suggest(name, fieldNames())), //nolint:err113 // for people
		hint: "fields are state, port, remote_addr, process, container, age and many more: sockwarden rules fields",
	}
}

func fieldNames() []string {
	var names []string
	for _, d := range collectors.AllFields() {
		names = append(names, d.Name)
	}
	return names
}
