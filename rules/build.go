package rules

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"sockwarden/collectors"
	"sockwarden/rules/lang"
)

// compileAll compiles the files into one program. The problems say whether it
// is of use.
func (l *loader) compileAll() *Program {
	p := &Program{Breaker: l.breaker(), Sets: map[string]*Set{}, Vars: map[string]string{}}
	names, protected := map[string]string{}, map[string]string{}
	// Before the rules: those of every file can name them.
	p.Notifiers = map[string]Notifier{}
	for _, f := range l.files {
		for _, name := range sortedKeys(f.notifiers) {
			if _, dup := p.Notifiers[name]; dup {
				f.fileProblem(fmt.Sprintf("%q stands under actions of another file, too", name))
			}
			p.Notifiers[name] = f.notifiers[name]
		}
	}
	for _, f := range l.files {
		sc := f.scope()
		for _, r := range f.protect {
			if first, dup := protected[r.name]; dup {
				f.errorf(r.at, "protect %q is already at %s: give one of them another name", r.name, first)
			} else {
				protected[r.name] = fmt.Sprintf("%s:%d", f.src.name, r.at.Line)
			}
			if cond := f.cond(r.when, sc); cond != nil {
				f.mustHold(cond, fmt.Sprintf("protect %q", r.name), true)
				p.Protect = append(p.Protect, &Protect{Name: r.name, File: f.src.name, When: cond, During: r.during})
			}
		}
		for _, r := range f.rules {
			if first, dup := names[r.name]; dup && r.name != "" {
				f.errorf(r.nameAt, "rule %q is already at %s: give one of them another name", r.name, first)
			} else {
				names[r.name] = fmt.Sprintf("%s:%d", f.src.name, r.at.Line)
			}
			if rule := f.rule(&r, sc, p); rule != nil {
				rule.netns = l.netnsOf(f)
				p.Rules = append(p.Rules, rule)
			}
		}
		for name, v := range f.vars {
			p.Vars[name] = v.String()
		}
		maps.Copy(p.Sets, f.sets)
		for _, note := range f.notes.kept {
			p.warnings.add(note)
		}
		p.warnings.seen += f.notes.seen - len(f.notes.kept)
		p.Files = append(p.Files, FileInfo{Path: f.src.name, Rules: len(f.rules)})
	}
	return p
}

func (l *loader) netnsOf(f *rulesFile) []string {
	if l.opts.NetNS != "" {
		return strings.Split(l.opts.NetNS, ",")
	}
	if len(f.netns) == 0 {
		return []string{"host"}
	}
	return f.netns
}

// scope checks the macros, each at its own place, and leaves out the bad ones.
func (f *rulesFile) scope() *lang.Scope {
	sc := &lang.Scope{
		Vars: map[string]*lang.Value{}, Sets: f.sets, Macros: map[string]string{}, Broken: f.broken,
		Shared: lang.NewShared(f.problems.full),
	}
	for name, v := range f.vars {
		sc.Vars[name] = &v.Value
	}
	for name, n := range f.macros {
		sc.Macros[name] = n.Value
	}
	sc.CheckMacros(
		func(name string) bool { return f.refused[f.macros[name]] },
		func(name string, errs []lang.Error) { f.exprProblems(f.macros[name], errs) })
	return sc
}

// cond compiles the condition of a scalar; nil if it has problems.
func (f *rulesFile) cond(n *yaml.Node, sc *lang.Scope) *Cond {
	if f.refused[n] {
		return nil
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		f.errorf(n, "a condition is an expression, not %s%s", nodeKind(n), exampleCondition(n))
		return nil
	}
	c, errs := lang.Compile(n.Value, sc)
	if !f.checkComment(n, errs) {
		f.exprProblems(n, errs)
	}
	if c != nil {
		for _, note := range c.Notes {
			line, column := f.src.locate(n, note.From)
			f.notes.add(f.src.problem(line, column, note.Message))
		}
	}
	return c
}

// exampleCondition says how the parts of a condition that is none are joined.
func exampleCondition(n *yaml.Node) string {
	switch n.Kind {
	case yaml.SequenceNode:
		return ": join its parts with and, or with or"
	case yaml.MappingNode:
		if len(n.Content) == 2 && n.Content[0].Kind == yaml.ScalarNode && n.Content[1].Kind == yaml.ScalarNode {
			if _, ok := collectors.FieldByName(n.Content[0].Value); ok {
				value := n.Content[1].Value
				if n.Content[1].Tag != "!!int" {
					value = fmt.Sprintf("%q", value)
				}
				return fmt.Sprintf(": write %s == %s", n.Content[0].Value, value)
			}
		}
	default:
	}
	return `: write one, as state == "CLOSE_WAIT" and age > 60`
}

func (f *rulesFile) rule(r *rawRule, sc *lang.Scope, p *Program) *Rule {
	rule := &Rule{
		Name: r.name, Description: r.description, File: f.src.name, Line: r.at.Line,
		Group: r.group, For: r.hold, During: r.during, Soak: r.soak, Canary: r.canary,
		Mode: r.mode, Limits: r.limits, Labels: r.labels,
	}
	if r.when == nil {
		return nil
	}
	ok := true
	ofWhen := *sc
	ofWhen.Grown = f.grown
	if rule.When = f.cond(r.when, &ofWhen); rule.When == nil {
		ok = false
	}
	if r.unless != nil {
		if rule.Unless = f.cond(r.unless, sc); rule.Unless == nil {
			ok = false
		}
	}
	if r.having != nil {
		ofGroup := *sc
		ofGroup.Group = true
		if rule.Having = f.cond(r.having, &ofGroup); rule.Having == nil {
			ok = false
		}
	}
	for _, n := range r.notify {
		name, _ := f.text(n, "notify")
		switch _, known := p.Notifiers[name]; {
		case name == "":
			ok = false
		case !known && f.problems.full():
			f.errorf(n, "no entry")
			ok = false
		case !known:
			hint := Suggest(name, sortedKeys(p.Notifiers))
			if hint == "" {
				hint = fmt.Sprintf(": write actions: {%s: {plugin: webhook, url_file: /etc/sockwarden/url}}", name)
			}
			f.errorf(n, "no entry %q under actions%s", name, hint)
			ok = false
		case slices.Contains(rule.Notify, name):
			f.errorf(n, "notify has %s twice", name)
			ok = false
		}
		rule.Notify = append(rule.Notify, name)
	}
	withResult := *sc
	for i, raw := range r.then {
		rung := Rung{Action: raw.action, Params: raw.params, Bound: raw.bound, Wait: raw.wait}
		if raw.cond != nil {
			withResult.Result = i > 0
			if rung.If = f.cond(raw.cond, &withResult); rung.If == nil {
				ok = false
			}
		}
		rule.Then = append(rule.Then, rung)
	}
	if !ok {
		return nil
	}
	f.checkEmptySets(rule)
	rule.Fingerprint = rule.print(f)
	f.lint(r, rule, p)
	return rule
}

// print digests everything that decides what the rule does.
func (r *Rule) print(f *rulesFile) string {
	h := sha256.New()
	cond := func(c *Cond) {
		if c == nil {
			return
		}
		fmt.Fprintf(h, "%q", c.Text)
		for _, k := range sortedKeys(c.Uses) {
			fmt.Fprintf(h, " %s=%q", k, c.Uses[k])
		}
		fmt.Fprintln(h)
	}
	cond(r.When)
	fmt.Fprintln(h, "unless")
	cond(r.Unless)
	fmt.Fprintln(h, "having", r.Group)
	cond(r.Having)
	fmt.Fprintln(h, r.Notify, r.During, r.Soak, r.Canary, r.For, r.Mode, r.Limits, sortedKeys(r.Labels), r.Labels, f.netns)
	for _, rung := range r.Then {
		fmt.Fprintln(h, rung.Action, rung.Params, rung.Wait)
		cond(rung.If)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}

// timeWaitLength is how long Linux keeps TIME_WAIT (TCP_TIMEWAIT_LEN), seconds.
const timeWaitLength = 60

// lint warns about rules that are valid and yet cannot do what they say.
func (f *rulesFile) lint(r *rawRule, rule *Rule, p *Program) {
	warn := func(n *yaml.Node, from int, format string, args ...any) {
		if p.warnings.full() {
			p.warnings.add(Problem{})
			return
		}
		line, column := f.src.locate(n, from)
		p.warnings.add(f.src.problem(line, column, fmt.Sprintf(format, args...)))
	}
	lintLadder(r, rule, warn)
	yes := rule.When.MayHold()
	if yes.States == 0 && !f.asksEmpty(rule.When) {
		warn(r.when, 0, "rule %q never matches: %s", rule.Name, rule.When.Never())
		return
	}
	if about := rule.about(); len(about) == 1 && about[0] == collectors.UDP && yes.States&collectors.Mask(collectors.Established, collectors.Close) == 0 {
		warn(r.when, 0, `rule %q never matches: a UDP socket is ESTABLISHED (connected) or CLOSE, and in no other state`, rule.Name)
	}
	if rule.Having != nil && rule.Having.OfProcess() && !slices.Contains(rule.Group, ByPID) {
		warn(r.having, 0, "rule %q never holds: fds and fd_limit are known only of one process, group: pid", rule.Name)
	}
	lintStill(r, rule, warn)
	lintRungs(r, rule, warn)
	lintEverything(r, rule, warn)
	if why, at := neverActs(r, rule); why != "" {
		rule.NeverActs = why
		warn(at, 0, "rule %q can never act: %s", rule.Name, why)
	}
	if yes.States != collectors.Mask(collectors.TimeWait) || asShipped(rule.When) {
		return
	}
	for _, a := range rule.When.Ages {
		if a.Seconds >= timeWaitLength {
			warn(r.when, a.From, "rule %q never matches: Linux ends TIME_WAIT after %d seconds, and it waits for more than %v: write less", rule.Name, timeWaitLength, a.Seconds)
		}
	}
}
