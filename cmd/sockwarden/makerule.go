package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"sockwarden/cmd/sockwarden/draft"
	"sockwarden/collectors"
	"sockwarden/rules"
	"sockwarden/rules/lang"
)

// passing are fields whose values mean nothing tomorrow: a rule that names one dies with
// the socket or process.
var passing = collectors.Fields(collectors.FieldCookie, collectors.FieldInode, collectors.FieldPID, collectors.FieldMPTCPToken)

// listRule is list --make-rule.
func (l *list) listRule(ctx context.Context, args []string) error {
	if err := l.makesFile("--make-rule", "a rules file", "a rule", l.makeRule, args); err != nil {
		return err
	}
	sets, err := l.sets(ctx, args)
	if err != nil {
		return err
	}
	sockets, r, err := l.look(ctx, args, sets, draft.Reads(), collectors.FieldSet{})
	if err != nil {
		return err
	}
	l.app.reportErrors(r, false)
	if len(sockets) == 0 {
		return nothingToMake("--make-rule", "a rule")
	}
	s := draft.Selection{
		Name: l.makeRule, Command: append([]string{"sockwarden"}, os.Args[1:]...), Made: time.Now(), Sets: sets, Sockets: sockets,
		NetNS: l.sel.netns(l.app.flags.rules.where(), sets),
	}
	if err := l.lasting(&s, args); err != nil {
		return err
	}
	text, err := draft.Rule(&s)
	if err != nil {
		return fmt.Errorf("make a rule: %w", err)
	}
	_, err = fmt.Fprint(l.app.stdout, text)
	return quietPipe(err)
}

// makesFile checks the flags beside one that prints a file instead of a list.
func (l *list) makesFile(flag, file, what, name string, args []string) error {
	switch {
	case l.by+l.columns+l.sort != "" || l.top != 0:
		return usagef("%s prints %s: it takes no --by, --columns, --sort or --top", flag, file)
	case l.app.flags.output != "table":
		return usagef("%s prints %s: it takes no --output", flag, file)
	case !rules.ValidName(name):
		return usagef("%s: %q is no name of %s: it has letters, digits, -, _ and ., at most 100", flag, name, what)
	case len(args) == 0 && !l.sel.given():
		return usagef("%s makes %s of what is selected: give an expression or a selector", flag, what)
	}
	return nil
}

// nothingToMake says that no socket is selected.
func nothingToMake(flag, what string) error {
	return fmt.Errorf("nothing is selected, and %s is made of sockets that exist now: sockwarden list without %s shows what there is", what, flag) //nolint:err113 // for people
}

// lasting sets the condition to what of the selection will mean the same tomorrow, and
// names the rest.
func (l *list) lasting(s *draft.Selection, args []string) error {
	keep := l.sel
	if len(keep.pids) > 0 {
		keep.pids = nil
		s.Dropped = append(s.Dropped, "Left out: --pid, as the process has another one after its next start.")
	}
	if len(args) > 0 {
		cond, errs := lang.Compile(args[0], &lang.Scope{Sets: s.Sets})
		if cond == nil {
			return fmt.Errorf("%s: %s", args[0], errs[0].Message)
		}
		if cond.Reads.Meets(passing) {
			args = nil
			s.Dropped = append(s.Dropped, "Left out: the expression, as it names single sockets or processes.")
		}
	}
	alone := keep
	alone.peers = nil
	if len(args) == 0 && len(keep.peers) > 0 && !alone.given() {
		s.Dropped = append(s.Dropped, "Left out: --peer "+strings.Join(keep.peers, ",")+
			`. To take only what these have, add: remote_addr in ["ADDRESS"].`)
		keep = alone
	}
	parts, err := keep.condition(s.Sets)
	if err != nil {
		return err
	}
	owner, err := keep.owner()
	if err != nil {
		return err
	}
	parts = append(parts, owner)
	for i := range parts {
		parts[i] = tidy(parts[i])
	}
	if len(args) > 0 {
		parts = append(parts, bracketed(args[0]))
	}
	s.Condition = strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), " and ")
	return nil
}

// single is a list of one value that is no address.
var single = regexp.MustCompile(`\b(port|remote_port|state|process|unit|protocol) in \[([0-9]+|"[^",]*")\]`)

// tidy writes the condition of a selector as a person would.
func tidy(part string) string {
	part = single.ReplaceAllString(part, "$1 == $2")
	if inner := strings.TrimSuffix(strings.TrimPrefix(part, "("), ")"); len(inner) == len(part)-2 && !strings.ContainsAny(inner, "()") && !strings.Contains(inner, " or ") {
		return inner
	}
	return part
}

// looser is what binds less than "and".
var looser = regexp.MustCompile(`\bor\b|\|\|`)

// bracketed is an expression as a part of a condition.
func bracketed(expr string) string {
	expr = strings.TrimSpace(expr)
	if !looser.MatchString(expr) {
		return expr
	}
	return "(" + expr + ")"
}
