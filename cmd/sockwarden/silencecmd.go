package main

import (
	"context"
	"errors"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sockwarden/cmd/sockwarden/control"
	"sockwarden/cmd/sockwarden/view"
	"sockwarden/engine/silence"
	"sockwarden/engine/watch"
	"sockwarden/rules"
)

// silences are the files of silences that the commands obey.
func (a *app) silences() []string { return silence.Files(a.flags.state()) }

func silenceCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "silence add|list|remove",
		Short: "Have rules leave sockets alone for a time",
		Long: `A silence spares what some rules find, or what a condition selects, until it ends:
nothing is done about it, and no message tells of it, while all else goes on. The
watcher, runs from cron, audit and kill obey it from the moment it was added.

With a watcher, these commands ask it over its control socket; without one, or
with --control none, they change the file that it would read.`,
		Example: `  sudo sockwarden silence add --for 2h --rule rd-leak --comment "moving the relay"
  sudo sockwarden silence list
  sudo sockwarden silence remove 3`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(silenceAdd(a), silenceList(a), silenceRemove(a))
	return cmd
}

// hushing holds the flags of silence add.
type hushing struct {
	asking
	sel     selectors
	rules   []string
	length  time.Duration
	comment string
}

func silenceAdd(a *app) *cobra.Command {
	h := &hushing{asking: asking{app: a}}
	cmd := &cobra.Command{
		Use:   "add --for TIME [EXPR] [flags]",
		Short: "Begin a silence",
		Long: `Begins a silence of what the rules of --rule find, of the sockets that match EXPR
and all selectors, or of both together. It prints the number of the silence, and
how many findings of the watcher it covers now. It ends by the wall clock.

Variables, sets and macros of the rules that EXPR names are written out when it
is added, so that no change of the rules can void it. What is unknown of a socket
counts as selected.`,
		Example: `  sudo sockwarden silence add --for 2h --rule rd-leak
  sudo sockwarden silence add --for 30m -p 5432 --comment "migration, anna"
  sudo sockwarden silence add --for 1d 'remote_addr in ["10.1.0.0/16"]'`,
		Args: oneExpr,
		RunE: func(cmd *cobra.Command, args []string) error { return h.add(cmd, args) },
	}
	d := declare{a, cmd}
	h.register(cmd)
	h.sel.register(d)
	d.ruleFiles("rules `FILE`, directory, or builtin, for the names that it uses; repeatable (default: " + rules.DefaultDir + ", or builtin if that does not exist)")
	cmd.Flags().Var(commaList{&h.rules}, "rule", "what the rule of this `NAME` finds, or several with commas; repeatable")
	d.complete("rule", completion{a}.rules)
	d.vars()
	d.output()
	d.state()
	cmd.Flags().Var(duration{&h.length}, "for", "how long (`TIME`, such as 2h)")
	cmd.Flags().StringVar(&h.comment, "comment", "", "why, as `TEXT`")
	return cmd
}

// wanted is the silence that the user describes.
func (h *hushing) wanted(ctx context.Context, args []string) (*silence.Silence, error) {
	now := time.Now()
	s := &silence.Silence{Rules: h.rules, Comment: h.comment, CreatedBy: author(), StartsAt: now, EndsAt: now.Add(h.length)}
	switch {
	case h.length <= 0:
		return nil, usagef("say for how long: --for 2h")
	case len(args) == 0 && len(h.rules) == 0 && !h.sel.given():
		return nil, usagef("nothing is selected; a silence of everything is a pause: sockwarden pause")
	}
	var err error
	if len(args) > 0 || h.sel.given() {
		if s.Expr, err = h.condition(ctx, args); err != nil {
			return nil, err
		}
	}
	if s.Owner, err = h.sel.owner(); err != nil {
		return nil, err
	}
	if h.sel.given() {
		words := h.sel.flags()
		for _, expr := range args {
			words = append([]string{quotedForShell(expr)}, words...)
		}
		s.Selectors = strings.Join(words, " ")
	}
	if s.Expr == "true" && s.Owner != "" {
		s.Expr = ""
	}
	if s.Expr == "true" && len(s.Rules) == 0 {
		return nil, usagef("that selects everything, which is a pause: sockwarden pause")
	}
	if err := s.Check(); err != nil {
		return nil, &exitError{code: exitUsage, err: err}
	}
	return s, nil
}

// condition is that of the argument and the selectors, without names. Only if it uses one
// are the rules read.
func (h *hushing) condition(ctx context.Context, args []string) (string, error) {
	build := func(p *rules.Program, sets map[string]*rules.Set) (string, error) {
		parts, err := h.sel.condition(sets)
		if err != nil {
			return "", err
		}
		args := slices.Clone(args)
		if len(args) > 0 && strings.TrimSpace(args[0]) != "" {
			if args[0], err = p.WriteOut(args[0]); err != nil {
				return "", &exitError{code: exitUsage, err: err}
			}
		}
		text, err := join(args, slices.Clone(parts), sets)
		if err != nil {
			return "", err
		}
		if len(parts) == 0 && len(args) > 0 {
			text = args[0]
		}
		if text, err = rules.WriteOut(text, sets); err != nil {
			return "", &exitError{code: exitUsage, err: err}
		}
		return text, nil
	}
	text, err := build(nil, nil)
	if err == nil {
		return text, nil
	}
	p, loadErr := h.app.load(ctx, false)
	if loadErr != nil {
		return "", loadErr
	}
	return build(p, p.Sets)
}

func (h *hushing) add(cmd *cobra.Command, args []string) error {
	ctx, cancel := context.WithTimeout(cmd.Context(), askFor)
	defer cancel()
	s, err := h.wanted(ctx, args)
	if err != nil {
		return err
	}
	c, err := control.Find(ctx, h.places())
	err = h.quiet(err)
	quiet, runs := errors.AsType[*control.QuietError](err)
	switch {
	case runs && quiet.At == "":
		return &exitError{code: exitForbidden, err: err, hint: tryAgain + "; with --control none it is written to its file all the same"}
	case errors.Is(err, control.ErrNobody) && !h.named() && (!runs || quiet.At == control.None):
		return h.addAlone(ctx, s)
	case err != nil:
		return notThere(err)
	}
	q := control.SilenceRequest{
		For: strconv.FormatFloat(h.length.Seconds(), 'f', -1, 64), Rules: s.Rules, Expr: s.Expr, Owner: s.Owner, Selectors: s.Selectors, Comment: s.Comment, By: invoker(),
	}
	var added watch.SilenceStatus
	if _, err := c.Do(ctx, http.MethodPost, "/v1/silences", q, &added); err != nil {
		return refused(err)
	}
	h.app.sameVersion(c)
	return quietPipe(view.SilenceAdded(h.app.out(), &added, true))
}

// addAlone writes the silence where runs and the next watcher find it.
func (h *hushing) addAlone(ctx context.Context, s *silence.Silence) error {
	if len(s.Rules) > 0 {
		p, err := h.app.load(ctx, false)
		if err != nil {
			return err
		}
		if _, err := shownRules(p, s.Rules); err != nil {
			return err
		}
	}
	path := silence.File(h.app.flags.state())
	if path == "" {
		return &exitError{code: exitFailed, err: errors.New("there is no directory for silences: XDG_RUNTIME_DIR is not set")}
	}
	if err := silence.Add(ctx, path, h.app.silences(), s); err != nil {
		return forbidden(err)
	}
	return quietPipe(view.SilenceAdded(h.app.out(), &watch.SilenceStatus{Silence: s, Kept: s.File}, false))
}

// forbidden gives an error of permission its exit code.
func forbidden(err error) error {
	if errors.Is(err, os.ErrPermission) {
		return &exitError{code: exitForbidden, err: err, hint: "run as root"}
	}
	return err
}

func silenceList(a *app) *cobra.Command {
	q := &asking{app: a}
	cmd := &cobra.Command{
		Use:   "list [flags]",
		Short: "List the silences in force",
		Example: `  sockwarden silence list
  sockwarden silence list -o json | jq '.[].id'`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), askFor)
			defer cancel()
			all, err := q.silences(ctx)
			if err != nil {
				return err
			}
			return quietPipe(view.Silences(a.out(), all, time.Now()))
		},
	}
	q.register(cmd)
	d := declare{a, cmd}
	d.output()
	d.state()
	return cmd
}

// silences are those in force, as the watcher says, or the files.
func (q *asking) silences(ctx context.Context) ([]watch.SilenceStatus, error) {
	c, err := control.Find(ctx, q.places())
	if err == nil {
		var all []watch.SilenceStatus
		_, err := c.Do(ctx, http.MethodGet, "/v1/silences", nil, &all)
		return all, refused(err)
	}
	if !errors.Is(err, control.ErrNobody) || q.named() {
		return nil, notThere(err)
	}
	in := silence.NewStore(q.app.silences()...).At(time.Now())
	for _, s := range in {
		if why := s.Broken(); why != "" {
			q.app.log.Warn("nothing is done", "reason", why)
		}
	}
	return (*watch.Status)(nil).SilencedBy(ctx, in), nil
}
