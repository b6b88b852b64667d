package rules

import (
	"strings"

	"go.yaml.in/yaml/v4"

	"sockwarden/collectors"
	"sockwarden/rules/lang"
)

// names reads what a file gives names to: variables, sets and macros.
type names struct {
	*reader
	vars   map[string]*Var
	varsAt map[string]*yaml.Node
	sets   map[string]*Set
	setsAt map[string]*yaml.Node // of the file
	macros map[string]*yaml.Node
	broken map[string]bool // names whose value is wrong
	files  *setFiles
	// replaced are sets that stand in place of those that the file defines.
	replaced map[string]*Set
}

func newNames(r *reader, path string) *names {
	return &names{
		reader: r,
		vars:   map[string]*Var{}, varsAt: map[string]*yaml.Node{}, sets: BuiltinSets(), setsAt: map[string]*yaml.Node{}, macros: map[string]*yaml.Node{}, broken: map[string]bool{},
		files: &setFiles{
			reader: r, path: path,
			byName: map[string]setFile{}, grown: map[string]*Set{}, lists: map[string]*Set{}, reported: map[string]bool{},
		},
	}
}

// checkName reports a name that an expression could not use.
func (ns *names) checkName(n *yaml.Node, what string) bool {
	name := n.Value
	for i, c := range name {
		if c != '_' && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (i == 0 || c < '0' || c > '9') {
			ns.errorf(idBadName, n, "the name of a %s is made of letters, digits and _, not %q%s", what, name, asName(name, "_"))
			return false
		}
	}
	if name == "" || lang.IsWord(name) {
		ns.errorf(idBadName, n, "%q is a word of the language and cannot name a %s: choose another", name, what)
		return false
	}
	if _, ok := collectors.FieldByName(name); ok {
		ns.errorf(idBadName, n, "%q is a field and cannot name a %s: choose another", name, what)
		return false
	}
	return true
}

// checkNames reports a name that stands for two things.
func (ns *names) checkNames() {
	for _, name := range sortedKeys(ns.macros) {
		if _, ok := ns.vars[name]; ok {
			ns.errorf(idDuplicateName, ns.macros[name], "%q is already a variable", name)
		}
		if _, ok := ns.sets[name]; ok {
			ns.errorf(idDuplicateName, ns.macros[name], "%q is already a set", name)
		}
	}
	for _, name := range sortedKeys(ns.vars) {
		if _, ok := ns.sets[name]; ok {
			ns.errorf(idDuplicateName, ns.varsAt[name], "%q is already a set", name)
		}
	}
}

func (ns *names) parseMacros(n *yaml.Node) {
	entries, _ := ns.entries(n, "macros")
	for _, e := range entries {
		if !ns.checkName(e.key, "macro") {
			continue
		}
		if _, ok := ns.text(e.value, "a macro"); ok {
			ns.macros[e.key.Value] = e.value
		} else {
			ns.broken[e.key.Value] = true
		}
	}
}

func (ns *names) parseVars(n *yaml.Node) {
	entries, _ := ns.entries(n, "vars")
	for _, e := range entries {
		if !ns.checkName(e.key, "variable") {
			continue
		}
		if v := ns.parseVar(e.value); v != nil {
			ns.vars[e.key.Value], ns.varsAt[e.key.Value] = v, e.key
		} else {
			ns.broken[e.key.Value] = true
		}
	}
}

func (ns *names) parseSets(n *yaml.Node) {
	entries, _ := ns.entries(n, "sets")
	for _, e := range entries {
		if !ns.checkName(e.key, "set") {
			continue
		}
		s, replaced := ns.replaced[e.key.Value]
		if replaced {
			ns.sets[e.key.Value], ns.setsAt[e.key.Value] = s, e.key
			continue
		}
		if e.value.Kind == yaml.MappingNode {
			s = ns.files.parse(e.key.Value, e.value)
		} else {
			s = ns.parseElements(e.value, false)
		}
		if s != nil {
			ns.sets[e.key.Value], ns.setsAt[e.key.Value] = s, e.key
		} else {
			ns.broken[e.key.Value] = true
		}
	}
}

// scope checks the macros, each at its own place, and leaves out the bad ones.
func (ns *names) scope() *lang.Scope {
	sc := &lang.Scope{
		Vars: map[string]*lang.Value{}, Sets: ns.sets, Macros: map[string]string{}, Broken: ns.broken,
		Shared: lang.NewShared(ns.problems.full),
	}
	for name, v := range ns.vars {
		sc.Vars[name] = &v.Value
	}
	for name, n := range ns.macros {
		sc.Macros[name] = n.Value
	}
	sc.CheckMacros(
		func(name string) bool { return ns.refused[ns.macros[name]] },
		func(name string, errs []lang.Error) { ns.exprProblems(ns.macros[name], errs) })
	return sc
}

// asName returns a name without the characters that it must not have, "" if nothing is
// left.
func asName(name, instead string) string {
	var b strings.Builder
	for _, part := range strings.FieldsFunc(name, func(c rune) bool { return !strings.ContainsRune(nameRunes, c) }) {
		if b.Len() > 0 {
			b.WriteString(instead)
		}
		b.WriteString(part)
	}
	if b.Len() == 0 || strings.ContainsAny(b.String()[:1], "0123456789") || b.Len() > maxQuoted {
		return ""
	}
	return ": write " + b.String()
}

const nameRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

// ValidName reports whether a rule can have that name.
func ValidName(name string) bool { return name != "" && validRuleName(name) }

func validRuleName(name string) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return len(name) <= 100
}
