package rules

import (
	"fmt"
	"maps"
	"strings"

	"sockwarden/rules/lang"
)

// compileAll compiles the files into one program. The problems say whether it is usable.
func (l *loader) compileAll() *Program {
	p := &Program{Breaker: l.breaker(), Sets: map[string]*Set{}, Vars: map[string]string{}}
	names, protected := map[string]string{}, map[string]string{}
	// Before the rules: those of every file can name them.
	p.Notifiers = map[string]Notifier{}
	for _, f := range l.files {
		for _, name := range sortedKeys(f.notifiers.all) {
			if _, dup := p.Notifiers[name]; dup {
				f.fileProblem(idDuplicateName, fmt.Sprintf("%q stands under actions of another file, too", name))
			}
			p.Notifiers[name] = f.notifiers.all[name]
		}
	}
	for _, f := range l.files {
		var spans [][2]int
		for i := range f.rules.rules {
			spans = append(spans, span(f.rules.rules[i].at))
		}
		p.ignored = append(p.ignored, readIgnored(f.src, spans)...)
	}
	p.warnings.spared = p.ignored
	builders := make([]*builder, len(l.files))
	for i, f := range l.files {
		builders[i] = &builder{rulesFile: f, scope: f.names.scope(), program: p, in: l.netnsOf(f)}
	}
	overrides := overridesOf(builders)
	for _, b := range builders {
		b.overrides = overrides
		for _, r := range b.rules.protect {
			b.protect(&r, protected)
		}
		b.allRules(names)
		for name, v := range b.names.vars {
			p.Vars[name] = v.String()
		}
		maps.Copy(p.Sets, b.names.sets)
		p.names = append(p.names, fileNames{b.src.name, lang.Scope{Vars: b.scope.Vars, Sets: b.scope.Sets, Macros: b.scope.Macros}})
		p.Files = append(p.Files, FileInfo{Path: b.src.name, Rules: len(b.rules.rules)})
	}
	for _, b := range builders { // now each has also compiled what overrides rules of others
		b.lintUnused()
		b.passNotes()
	}
	return p
}

// allRules compiles the rules of the file. Names is where those of all files stand.
func (b *builder) allRules(names map[string]string) {
	for _, r := range b.rules.rules {
		if first, dup := names[r.name]; dup && r.name != "" {
			b.errorf(idDuplicateName, r.nameAt, "rule %q is already at %s: give one of them another name", r.name, first)
		} else {
			names[r.name] = fmt.Sprintf("%s:%d", b.src.name, r.at.Line)
		}
		if rule := b.rule(&r); rule != nil {
			rule.netns = b.in
			b.program.Rules = append(b.program.Rules, rule)
		}
	}
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
