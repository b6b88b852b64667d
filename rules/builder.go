package rules

import (
	"fmt"
	"slices"

	"go.yaml.in/yaml/v4"

	"sockwarden/collectors"
	"sockwarden/rules/lang"
)

// builder compiles the conditions of one file and makes rules of them.
type builder struct {
	*rulesFile
	scope   *lang.Scope
	program *Program
	notes   problemList // about what is valid in conditions but maybe not meant
	// compiled are the conditions of the file.
	compiled []*Cond
	in       []string // the namespaces that its rules are about
	// overrides are those of all files, by the names of rules.
	overrides map[string]override
}

// protect compiles an entry of protect. Seen is where the names of all files stand.
func (b *builder) protect(r *rawProtect, seen map[string]string) {
	if first, dup := seen[r.name]; dup {
		b.errorf(idDuplicateName, r.at, "protect %q is already at %s: give one of them another name", r.name, first)
	} else {
		seen[r.name] = fmt.Sprintf("%s:%d", b.src.name, r.at.Line)
	}
	if cond := b.cond(r.when, b.scope); cond != nil {
		b.names.files.mustHold(cond, fmt.Sprintf("protect %q", r.name), true)
		b.lintSpares(fmt.Sprintf("protect %q", r.name), r.when, cond)
		b.program.Protect = append(b.program.Protect, &Protect{Name: r.name, File: b.src.name, When: cond, During: r.during})
	}
}

// rule compiles a rule; nil if something is wrong with it.
func (b *builder) rule(r *rawRule) *Rule {
	if r.when == nil {
		return nil
	}
	over, overridden := b.overrides[r.name]
	if overridden {
		over.change(r)
		excuse(b.program.ignored, b.src.name, span(r.at))
	}
	rule := &Rule{
		Name: r.name, Description: r.description, File: b.src.name, Line: r.at.Line,
		Group: r.group, Keep: r.keep, Order: r.order, For: r.hold, During: r.during, Soak: r.soak, Canary: r.canary,
		Mode: r.mode, Limits: r.limits, Labels: r.labels,
	}
	// All of them: every error is reported at once.
	ok := b.conditions(r, rule)
	ok = b.notified(r, rule) && ok
	ok = b.ladder(r, rule) && ok
	if !ok {
		return nil
	}
	b.names.files.checkEmptySets(rule)
	if overridden && !over.complete(rule) {
		return nil
	}
	rule.Fingerprint = rule.print(b.netns)
	b.lint(r, rule)
	return rule
}

// conditions compiles what the rule asks about sockets and groups.
func (b *builder) conditions(r *rawRule, rule *Rule) bool {
	ok := true
	ofWhen := *b.scope
	ofWhen.Grown = b.names.files.grown
	if rule.When = b.cond(r.when, &ofWhen); rule.When == nil {
		ok = false
	}
	if r.unless != nil {
		if rule.Unless = b.cond(r.unless, b.scope); rule.Unless == nil {
			ok = false
		} else {
			b.lintSpares(fmt.Sprintf("unless of rule %q", rule.Name), r.unless, rule.Unless)
		}
	}
	if r.having != nil {
		ofGroup := *b.scope
		ofGroup.Group = true
		if rule.Having = b.cond(r.having, &ofGroup); rule.Having == nil {
			ok = false
		}
	}
	return ok
}

// notified finds the notifiers of the rule, which stand under actions of any file.
func (b *builder) notified(r *rawRule, rule *Rule) bool {
	ok := true
	for _, n := range r.notify {
		name, _ := b.text(n, "notify")
		switch _, known := b.program.Notifiers[name]; {
		case name == "":
			ok = false
		case !known && b.problems.full():
			b.errorf(idUnknownNotifier, n, "no entry")
			ok = false
		case !known:
			hint := Suggest(name, sortedKeys(b.program.Notifiers))
			if hint == "" {
				hint = fmt.Sprintf(": write actions: {%s: {plugin: webhook, url_file: /etc/sockwarden/url}}", name)
			}
			b.errorf(idUnknownNotifier, n, "no entry %q under actions%s", name, hint)
			ok = false
		case slices.Contains(rule.Notify, name):
			b.errorf(idDuplicateKey, n, "notify has %s twice", name)
			ok = false
		}
		rule.Notify = append(rule.Notify, name)
	}
	return ok
}

// ladder compiles the rungs.
func (b *builder) ladder(r *rawRule, rule *Rule) bool {
	ok := true
	withResult := *b.scope
	for i, raw := range r.then {
		rung := Rung{Action: raw.action, Params: raw.params, Bound: raw.bound, Wait: raw.wait}
		if raw.cond != nil {
			withResult.Result = i > 0
			if rung.If = b.cond(raw.cond, &withResult); rung.If == nil {
				ok = false
			}
		}
		rule.Then = append(rule.Then, rung)
	}
	return ok
}

// cond compiles the condition of a scalar; nil if it has problems.
func (b *builder) cond(n *yaml.Node, sc *lang.Scope) *Cond {
	if b.refused[n] {
		return nil
	}
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		b.errorf(idWrongForm, n, "a condition is an expression, not %s%s", nodeKind(n), exampleCondition(n))
		return nil
	}
	c, errs := lang.Compile(n.Value, sc)
	if !b.checkComment(n, errs) {
		b.exprProblems(n, errs)
	}
	if c != nil {
		b.compiled = append(b.compiled, c)
		for _, note := range c.Notes {
			line, column := b.src.locate(n, note.From)
			b.notes.add(b.src.problem(note.ID, line, column, note.Message))
		}
	}
	return c
}

// exampleCondition says how to join the parts of something that is not a condition.
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

// passNotes hands the notes on the conditions to the program.
func (b *builder) passNotes() {
	for _, note := range b.notes.kept {
		b.program.warnings.add(note)
	}
	b.program.warnings.seen += b.notes.seen - len(b.notes.kept)
}
