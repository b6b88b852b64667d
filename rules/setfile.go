package rules

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/expr-lang/expr/ast"
	"go.yaml.in/yaml/v4"

	"sockwarden/collectors/trust"
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
	file.empty = s.kind() == kindEmpty
	f.setFiles[name] = file
	if more := f.grownSet(file.path); more != nil {
		f.grown[name] = more
	}
	return s
}

// asksEmpty reports whether a condition asks a set whose file is empty now.
func (f *rulesFile) asksEmpty(c *Cond) bool {
	for name := range c.sets {
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

// sense says what becomes of a condition as a part of it becomes true: it becomes
// true too, or false, or that cannot be told.
type sense int8

const (
	asWritten sense = 1
	negated   sense = -1
	eitherWay sense = 0
)

// setUse says in which senses a condition asks a set.
type setUse struct{ asWritten, otherwise bool }

// within compiles a part of a condition in the given sense.
func (c *compiler) within(s sense, n ast.Node) (operand, bool) {
	outer := c.sense
	c.sense = s
	o, ok := c.compile(n)
	c.sense = outer
	return o, ok
}

// useSet notes how a set is asked, and returns it, or it with what was added since
// where that can only make the condition true of more. What it holds is data: a
// condition stays the same when that changes.
func (c *compiler) useSet(name string, s *Set) *Set {
	c.uses[name] = "a set"
	use := c.sets[name]
	use.asWritten = use.asWritten || c.sense == asWritten
	use.otherwise = use.otherwise || c.sense != asWritten
	c.sets[name] = use
	if grown := c.sc.grown[name]; grown != nil && c.sense == asWritten {
		return grown
	}
	return s
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
	for _, name := range sortedKeys(c.sets) {
		file, isFile := f.setFiles[name]
		if !isFile || !file.empty || file.mayBeEmpty || !spares && !c.sets[name].otherwise || f.reported[name] {
			continue
		}
		f.reported[name] = true
		f.errorf(file.at, "set %q: %s is empty, and %s asks it: what it spared would be spared no more; if that is meant, add may_be_empty: true", name, file.path, who)
	}
}
