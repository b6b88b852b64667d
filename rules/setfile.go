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

// setFiles reads set files.
type setFiles struct {
	*reader
	path     string             // of the rules file, for names that are relative
	byName   map[string]setFile // the sets that are read from files
	grown    map[string]*Set    // those with what a younger generation has added to their files
	lists    map[string]*Set    // that were read, by path; nil for wrong ones
	reported map[string]bool    // sets that are empty and must not be
	readSet  func(path string) (*Set, error)
	grownSet func(path string) *Set
}

var setKeys = keys[*setFiles, *setFile]{
	{
		"file", "a file with one entry a line; relative to this file", filledForm,
		func(files *setFiles, f *setFile, n *yaml.Node) { f.path, _ = files.text(n, "file") },
	},
	{
		"may_be_empty", "true if an empty file is no mistake", boolForm,
		func(files *setFiles, f *setFile, n *yaml.Node) { f.mayBeEmpty = files.yesOrNo(n, "may_be_empty") },
	},
}

// parse reads {file: path}: one entry a line, # or ; begins a comment.
func (files *setFiles) parse(name string, n *yaml.Node) *Set {
	file := setFile{at: n}
	setKeys.fields(files.reader, n, "a set", files, &file)
	if file.path == "" {
		files.errorf(idWrongForm, n, "a set is a list, or {file: path}")
		return nil
	}
	if !filepath.IsAbs(file.path) {
		file.path = trust.Beside(files.path, file.path)
	}
	s, again := files.lists[file.path] // by another name
	if !again {
		var err error
		s, err = files.readSet(file.path)
		if files.lists[file.path] = s; err != nil {
			files.errorf(idOfFile(err), n, "%s: %v", file.path, err)
		}
	}
	if s == nil {
		return nil
	}
	file.empty = s.Kind() == lang.KindEmpty
	files.byName[name] = file
	if more := files.grownSet(file.path); more != nil {
		files.grown[name] = more
	}
	return s
}

// asksEmpty reports whether a condition asks a set whose file is empty now.
func (files *setFiles) asksEmpty(c *Cond) bool {
	for name := range c.Sets {
		if files.byName[name].empty {
			return true
		}
	}
	return false
}

// yesOrNo reads true or false.
func (r *reader) yesOrNo(n *yaml.Node, what string) bool {
	if n.Kind != yaml.ScalarNode || n.Tag != "!!bool" {
		r.errorf(idWrongForm, n, "%s is true or false, not %s", what, nodeKind(n))
	}
	return strings.EqualFold(n.Value, "true")
}

// checkEmptySets rejects a rule that would act on more because a set file is empty: more
// often than not, somebody is just writing that file anew.
func (files *setFiles) checkEmptySets(r *Rule) {
	if r.Mode == ModeDisabled {
		return
	}
	files.mustHold(r.Unless, fmt.Sprintf("unless of rule %q", r.Name), true)
	files.mustHold(r.When, fmt.Sprintf("a negation in rule %q", r.Name), false)
	files.mustHold(r.Having, fmt.Sprintf("a negation in rule %q", r.Name), false)
	for i := range r.Then {
		files.mustHold(r.Then[i].If, fmt.Sprintf("a negation in rule %q", r.Name), false)
	}
}

// mustHold reports the set files that are empty although the condition, or its negations,
// spare what is in them.
func (files *setFiles) mustHold(c *Cond, who string, spares bool) {
	if c == nil {
		return
	}
	for _, name := range sortedKeys(c.Sets) {
		file, isFile := files.byName[name]
		if !isFile || !file.empty || file.mayBeEmpty || !spares && !c.Sets[name].Otherwise || files.reported[name] {
			continue
		}
		files.reported[name] = true
		files.errorf(idEmptySet, file.at, "set %q: %s is empty, and %s reads it: the rule would take more than before; if that is intended, add "+
			"may_be_empty: true", name, file.path, who)
	}
}
