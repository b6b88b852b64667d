package main

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"sockwarden/cmd/sockwarden/draft"
	"sockwarden/engine"
	"sockwarden/engine/recording"
	"sockwarden/engine/ruletest"
	"sockwarden/rules"
)

// listTest is list --make-test.
func (l *list) listTest(ctx context.Context, args []string) error {
	if err := l.makesFile("--make-test", "a test file", "a test", l.makeTest, args); err != nil {
		return err
	}
	files := l.app.flags.rules.files
	if slices.ContainsFunc(files, func(f string) bool { return f == rules.Stdin || strings.HasPrefix(f, "/dev/") }) {
		return usagef("--make-test: the test names the rules that it tests: give --rules a file or a directory")
	}
	p, err := l.app.load(ctx, false)
	if err != nil {
		return err
	}
	if len(files) == 0 {
		for _, f := range p.Files {
			files = append(files, f.Path)
		}
	}
	found, err := l.explained(ctx, p, args)
	if err != nil {
		return err
	}
	l.app.logErrors(found.Report)
	if len(found.Sockets) == 0 {
		return nothingToMake("--make-test", "a test")
	}
	text, err := l.testOf(ctx, p, files, found)
	if err != nil {
		return l.app.rejected(err)
	}
	_, err = fmt.Fprint(l.app.stdout, text)
	return quietPipe(err)
}

// testOf writes the test of what was found, by the rules of these files.
func (l *list) testOf(ctx context.Context, p *rules.Program, files []string, found *engine.Explanation) (string, error) {
	in := draft.Incident{
		Name: l.makeTest, Command: append([]string{"sockwarden"}, os.Args[1:]...), Made: time.Now(), Start: found.Report.Started.UTC(),
		Rules: files, Program: p, Place: "on the host",
	}
	if l.app.replay != nil {
		in.Place = "in the recording"
	}
	if l.anonymise {
		in.Command, in.Anonymiser = nil, recording.NewAnonymiser()
	}
	if zone := localZone(); zone != nil && readsLocalTime(p) {
		in.Start, in.Zone = found.Report.Started.In(zone), zone.String()
	}
	for _, s := range found.Sockets {
		fate := draft.Fate{Candidate: s.Candidate, Decision: rules.ExpectNone}
		if v := s.Main; v != nil && string(v.Decision) != rules.ExpectNone {
			fate.Rule, fate.Decision, fate.Reason = v.Rule.Name, string(v.Decision), v.Reason
		}
		in.Sockets = append(in.Sockets, fate)
	}
	slices.SortStableFunc(in.Sockets, func(x, y draft.Fate) int { return bySocket(x.Candidate, y.Candidate) })
	plugins, err := builtinActions(slog.New(slog.DiscardHandler))
	if err != nil {
		return "", err
	}
	o := ruletest.Options{Actions: plugins.All(), Notifiers: notifierCatalog()}
	in.Say = func(text string) ([][]ruletest.Saying, error) {
		return ruletest.Say(ctx, o, l.makeTest+"_test.yaml", text)
	}
	return draft.Test(&in)
}

// explained judges the host, or the recording, as rules explain does. It returns what the
// rules say of the sockets that are selected.
func (l *list) explained(ctx context.Context, p *rules.Program, args []string) (*engine.Explanation, error) {
	parts, err := l.sel.condition(p.Sets)
	if err != nil {
		return nil, err
	}
	text, err := join(args, parts, p.Sets)
	if err != nil {
		return nil, err
	}
	owner, err := l.sel.owner()
	if err != nil {
		return nil, err
	}
	where := cmp.Or(l.sel.netns(l.app.flags.rules.where(), p.Sets), strings.Join(p.NetNS, ","))
	selection, err := rules.NewSelection(rules.Selection{
		Name: "list", Text: text, Owner: owner, Sets: p.Sets, Mode: rules.ModeObserve, NetNS: where, Reads: draft.TestReads(p),
	})
	if err != nil {
		return nil, &exitError{code: exitUsage, err: err}
	}
	e, err := l.app.engine(engine.Options{StateFile: l.app.flags.state(), ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer e.Close()
	return e.Explain(ctx, p, engine.Question{Selection: selection, Rules: p.Rules}, 0)
}

// readsLocalTime reports whether the rules go by the time of day of this host.
func readsLocalTime(p *rules.Program) bool {
	local := func(w rules.Window) bool { return w.Zone == time.Local }
	return slices.ContainsFunc(p.Rules, func(r *rules.Rule) bool { return slices.ContainsFunc(r.During, local) }) ||
		slices.ContainsFunc(p.Protect, func(r *rules.Protect) bool { return slices.ContainsFunc(r.During, local) })
}

// localZone is the time zone of this host by its name, nil if it is UTC or has none.
func localZone() *time.Location {
	name := time.Local.String()
	if name == "Local" {
		target, err := os.Readlink("/etc/localtime")
		if err != nil {
			return nil
		}
		_, name, _ = strings.Cut(target, "zoneinfo/")
	}
	zone, err := time.LoadLocation(name)
	if err != nil || zone == time.UTC {
		return nil
	}
	return zone
}
