package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/rules"
)

// listFlags choose how sockets are listed.
type listFlags struct {
	sel     selectors
	by      string
	columns string
	sort    string
	top     int
}

func (a *app) listCommand() *cobra.Command {
	var l listFlags
	cmd := &cobra.Command{
		Use:   "list [EXPR] [flags]",
		Short: "List sockets, like ss, filtered by an expression and selectors",
		Long: `Lists the sockets that match EXPR and all selectors: every state of TCP and UDP,
listeners included, unless something is selected. EXPR is a condition as in a
rules file ("sockwarden rules fields" lists what it can read). It never acts.
Of a socket that several processes hold, EXPR must be true for each of them,
--pid and --process for one.

Ages are proven bounds: 3h12m is exact, >=3h12m a lower bound, ? is unknown.`,
		Example: `  sudo sockwarden list -s established -p rustdesk
  sudo sockwarden list 'state == "CLOSE_WAIT" && age > "5m"' --sort -age
  sudo sockwarden list -p 21118 --by state,process
  sockwarden list --columns state,port,remote_addr,recv_queue -o jsonl
  sockwarden list 'remote_addr in ["203.0.113.0/24"]' --top 20 --sort -send_queue`,
		Args: oneExpr,
		RunE: func(cmd *cobra.Command, args []string) error { return a.list(cmd, args, &l) },
	}
	l.sel.register(a, cmd)
	f := cmd.Flags()
	f.StringVar(&l.by, "by", "", "group by these `FIELDS` and count")
	f.StringVar(&l.columns, "columns", "", "show these `FIELDS`")
	f.StringVar(&l.sort, "sort", "", "sort by this `FIELD`, descending with a minus before it")
	f.IntVar(&l.top, "top", 0, "only the first `N`")
	complete(cmd, "by", completeFields)
	complete(cmd, "columns", completeFields)
	complete(cmd, "sort", completeFields)
	f.StringArrayVar(&a.flags.rules, "rules", nil, "rules `FILE` whose sets can be named; repeatable (default as for audit)")
	complete(cmd, "rules", completeRulesFiles)
	a.netnsFlag(cmd)
	a.outputFlag(cmd)
	a.stateFlag(cmd)
	a.collectFlag(cmd)
	a.tuningFlags(cmd)
	return cmd
}

func (a *app) list(cmd *cobra.Command, args []string, l *listFlags) error {
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
	columns, err := parseFields("--columns", l.columns)
	if err != nil {
		return err
	}
	sortField, descending := strings.CutPrefix(l.sort, "-")
	sortBy, err := parseFields("--sort", sortField)
	if err != nil {
		return err
	}
	if len(sortBy) > 1 {
		return usagef("--sort takes one field")
	}
	reads := collectors.Fields(append(slices.Concat(by, columns, sortBy), collectors.FieldAge, collectors.FieldProcess)...)
	if a.flags.output != "table" {
		reads.Add(collectors.ListenerFields().Or(collectors.InterfaceFields()))
	}
	sockets, r, err := a.sockets(cmd, args, &l.sel, reads)
	if err != nil {
		return err
	}
	if len(sortBy) == 1 {
		slices.SortStableFunc(sockets, func(x, y *engine.Candidate) int {
			c := compareValues(value(x, sortBy[0]), value(y, sortBy[0]))
			if descending {
				c = -c
			}
			return c
		})
	}
	total := len(sockets)
	if l.top > 0 && len(by) == 0 {
		sockets = sockets[:min(l.top, len(sockets))]
	}
	a.reportErrors(r, false)
	switch {
	case a.flags.output != "table":
		err = a.listJSON(sockets, by, columns, l.top)
	case len(by) > 0:
		err = a.listBy(sockets, by, l.top)
	default:
		err = a.listTable(sockets, columns, total, r)
	}
	return unopened(r, err)
}

// sockets collects what an expression and selectors select.
func (a *app) sockets(cmd *cobra.Command, args []string, sel *selectors, reads collectors.FieldSet) ([]*engine.Candidate, *engine.Report, error) {
	sets, err := a.setsFor(cmd.Context(), args, sel)
	if err != nil {
		return nil, nil, err
	}
	parts, err := sel.condition(sets)
	if err != nil {
		return nil, nil, err
	}
	text, err := join(args, parts, sets)
	if err != nil {
		return nil, nil, err
	}
	owner, err := sel.owner()
	if err != nil {
		return nil, nil, err
	}
	p, err := rules.NewSelection(rules.Selection{Name: "list", Text: text, Owner: owner, Sets: sets, Mode: rules.ModeObserve, NetNS: a.flags.netns, Reads: reads})
	if err != nil {
		return nil, nil, &exitError{code: exitUsage, err: err}
	}
	e, err := a.engine(engine.Options{StateFile: a.flags.stateFile, ReadOnly: true})
	if err != nil {
		return nil, nil, err
	}
	defer e.Close()
	r, err := e.Look(cmd.Context(), p)
	if err != nil {
		return nil, nil, err
	}
	sockets := make([]*engine.Candidate, len(r.Findings))
	for i, f := range r.Findings {
		sockets[i] = f.Candidate
		sel.namedFirst(f.Candidate)
	}
	slices.SortStableFunc(sockets, func(x, y *engine.Candidate) int {
		return cmp.Or(cmp.Compare(x.Socket.Protocol, y.Socket.Protocol), cmp.Compare(x.Socket.State, y.Socket.State),
			cmp.Compare(x.Socket.LocalPort, y.Socket.LocalPort), cmp.Compare(x.Socket.RemotePort, y.Socket.RemotePort))
	})
	return sockets, r, nil
}

// setsFor returns the sets that an expression and selectors can name: those of
// the rules, as for kill. If these cannot be read, only the built-in ones, which
// is said, unless they were asked for.
func (a *app) setsFor(ctx context.Context, args []string, sel *selectors) (map[string]*rules.Set, error) {
	if len(args) == 0 && len(a.flags.rules) == 0 && !sel.namesPorts() {
		return rules.BuiltinSets(), nil
	}
	o, err := a.loadOptions(false)
	if err != nil {
		return nil, err
	}
	p, _, err := newRuleLoader(o).next(ctx)
	switch {
	case err == nil:
		return p.Sets, nil
	case len(a.flags.rules) > 0, ctx.Err() != nil:
		return nil, err
	}
	a.log.Warn("the rules have errors, only the built-in sets are known", "hint", "sockwarden rules check")
	return rules.BuiltinSets(), nil
}

func parseFields(flag, list string) ([]collectors.Field, error) {
	var fields []collectors.Field
	if list == "" {
		return nil, nil
	}
	for name := range strings.SplitSeq(list, ",") {
		f, ok := collectors.FieldByName(strings.TrimSpace(name))
		if !ok {
			return nil, usagef("%s: unknown field %q%s", flag, name, rules.Suggest(name, fieldNames()))
		}
		fields = append(fields, f)
	}
	return fields, nil
}

func fieldNames() []string {
	var names []string
	for _, d := range collectors.AllFields() {
		names = append(names, d.Name)
	}
	return names
}

func value(c *engine.Candidate, f collectors.Field) any {
	r := c.Record()
	v, _ := collectors.Value(f, &r)
	return v
}

// compareValues orders values of one field; unknown ones come first.
func compareValues(a, b any) int {
	switch x := a.(type) {
	case nil:
		if b == nil {
			return 0
		}
		return -1
	case float64:
		if y, ok := b.(float64); ok {
			return cmp.Compare(x, y)
		}
	case bool:
		if y, ok := b.(bool); ok {
			return strings.Compare(fmt.Sprint(x), fmt.Sprint(y))
		}
	default:
		if b != nil {
			return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
		}
	}
	return 1
}

func (a *app) listJSON(sockets []*engine.Candidate, by, columns []collectors.Field, top int) error {
	if len(by) == 0 {
		only := collectors.Fields(columns...)
		return a.writeRows(len(sockets), func(i int) map[string]any { return jsonOf(sockets[i], only) })
	}
	groups := groupBy(sockets, by)
	if top > 0 {
		groups = groups[:min(top, len(groups))]
	}
	only := collectors.Fields(by...)
	return a.writeRows(len(groups), func(i int) map[string]any {
		row := jsonOf(groups[i].sockets[0], only)
		row["count"] = len(groups[i].sockets)
		return row
	})
}

// writeRows writes an array of JSON, or lines, a row at a time: that of a million
// sockets would take gigabytes.
func (a *app) writeRows(n int, row func(int) map[string]any) error {
	w := bufio.NewWriter(a.stdout)
	if a.flags.output == "jsonl" {
		enc := json.NewEncoder(w)
		for i := range n {
			if err := enc.Encode(row(i)); err != nil {
				return quietPipe(err)
			}
		}
		return quietPipe(w.Flush())
	}
	end := "[]\n"
	for i := range n {
		text, err := json.MarshalIndent(row(i), "  ", "  ")
		if err != nil {
			return fmt.Errorf("write JSON: %w", err)
		}
		before := ","
		if i == 0 {
			before, end = "[", "\n]\n"
		}
		if _, err := fmt.Fprintf(w, "%s\n  %s", before, text); err != nil {
			return quietPipe(err)
		}
	}
	_, _ = w.WriteString(end) // Flush says what failed
	return quietPipe(w.Flush())
}

// jsonOf returns the fields of a socket, only some unless that is empty.
func jsonOf(c *engine.Candidate, only collectors.FieldSet) map[string]any {
	r := c.Record()
	if only.Empty() {
		return collectors.Map(&r)
	}
	r.Known = r.Known.And(only)
	row := collectors.Map(&r)
	delete(row, "owner_processes")
	return row
}

// reportErrors logs what kept a listing from being complete. Of namespaces that could
// not be looked into the error at the end says it, but for whoever is asked before.
func (a *app) reportErrors(r *engine.Report, asks bool) {
	for _, err := range r.Errors {
		if _, away := errors.AsType[*engine.NamespaceError](err); away && !asks && a.logFile == nil {
			continue
		}
		if spared := (*engine.SparedError)(nil); errors.As(err, &spared) {
			continue // of kill, which shows what it spares
		}
		a.log.Warn("incomplete", "error", err)
	}
}
