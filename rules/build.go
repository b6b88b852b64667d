package rules

import (
	"fmt"
	"maps"
	"strings"
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
	for _, f := range l.files {
		b := &builder{rulesFile: f, scope: f.names.scope(), program: p, in: l.netnsOf(f)}
		for _, r := range f.rules.protect {
			b.protect(&r, protected)
		}
		for _, r := range f.rules.rules {
			if first, dup := names[r.name]; dup && r.name != "" {
				f.errorf(idDuplicateName, r.nameAt, "rule %q is already at %s: give one of them another name", r.name, first)
			} else {
				names[r.name] = fmt.Sprintf("%s:%d", f.src.name, r.at.Line)
			}
			if rule := b.rule(&r); rule != nil {
				rule.netns = b.in
				p.Rules = append(p.Rules, rule)
			}
		}
		for name, v := range f.names.vars {
			p.Vars[name] = v.String()
		}
		maps.Copy(p.Sets, f.names.sets)
		b.lintUnused()
		b.passNotes()
		p.Files = append(p.Files, FileInfo{Path: f.src.name, Rules: len(f.rules.rules)})
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
