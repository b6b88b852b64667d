package rules

import (
	"fmt"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v4"

	"sockwarden/collectors/trust"
	"sockwarden/rules/lang"
)

// setFile is a set that is read from a file.
type setFile struct {
	at         *yaml.Node
	path       string
	empty      bool
	mayBeEmpty bool
}

// parseSetFile reads {file: path}: one entry a line, # or ; begins a comment.
func (f *rulesFile) parseSetFile(name string, n *yaml.Node) *Set {
	file := setFile{at: n}
	f.fields(n, "a set", map[string]func(*yaml.Node){
		"file":         func(n *yaml.Node) { file.path, _ = f.text(n, "file") },
		"may_be_empty": func(n *yaml.Node) { file.mayBeEmpty = f.yesOrNo(n, "may_be_empty") },
	})
	if file.path == "" {
		f.errorf(n, "a set is a list, or {file: path}")
		return nil
	}
	if !filepath.IsAbs(file.path) {
		file.path = trust.Beside(f.path, file.path)
	}
	s, again := f.lists[file.path] // by another name
	if !again {
		var err error
		s, err = f.readSet(file.path)
		if f.lists[file.path] = s; err != nil {
			f.errorf(n, "%s: %v", file.path, err)
		}
	}
	if s == nil {
		return nil
	}
	file.empty = s.Kind() == lang.KindEmpty
	f.setFiles[name] = file
	if more := f.grownSet(file.path); more != nil {
		f.grown[name] = more
	}
	return s
}

// asksEmpty reports whether a condition asks a set whose file is empty now.
func (f *rulesFile) asksEmpty(c *Cond) bool {
	for name := range c.Sets {
		if f.setFiles[name].empty {
			return true
		}
	}
	return false
}

// yesOrNo reads true or false.
func (r *reader) yesOrNo(n *yaml.Node, what string) bool {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
		r.errorf(n, "%s is true or false, not %s", what, nodeKind(n))
	}
	return strings.EqualFold(n.Value, "true")
}

// checkEmptySets rejects a rule that would act on more because the file of a set is
// empty: more often than not that is one which is just being written anew.
func (f *rulesFile) checkEmptySets(r *Rule) {
	if r.Mode == ModeDisabled {
		return
	}
	f.mustHold(r.Unless, fmt.Sprintf("unless of rule %q", r.Name), true)
	f.mustHold(r.When, fmt.Sprintf("a negation in rule %q", r.Name), false)
	f.mustHold(r.Having, fmt.Sprintf("a negation in rule %q", r.Name), false)
	for i := range r.Then {
		f.mustHold(r.Then[i].If, fmt.Sprintf("a negation in rule %q", r.Name), false)
	}
}

// mustHold reports the files of sets that are empty although the condition, or its
// negations, spare what is in them.
func (f *rulesFile) mustHold(c *Cond, who string, spares bool) {
	if c == nil {
		return
	}
	for _, name := range sortedKeys(c.Sets) {
		file, isFile := f.setFiles[name]
		if !isFile || !file.empty || file.mayBeEmpty || !spares && !c.Sets[name].Otherwise || f.reported[name] {
			continue
		}
		f.reported[name] = true
		f.errorf(file.at, "set %q: %s is empty, and %s asks for what is in it: the rule would take more than before; if that is meant, add "+
			"may_be_empty: true", name, file.path, who)
	}
}
