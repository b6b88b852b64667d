package rules

import (
	"fmt"

	"go.yaml.in/yaml/v4"
)

// skipTest checks that a file of a rules directory that is named like a test is one: rules
// by that name would be left out.
func (l *loader) skipTest(path string) {
	text, err := l.read(path)
	if err != nil {
		l.problems.add(Problem{ID: idOfFile(err), File: path, Message: err.Error()})
		return
	}
	src := newSource(path, text)
	var doc yaml.Node
	if err := yaml.Load([]byte(text), &doc); err != nil || len(doc.Content) != 1 {
		l.fail(idTestOfRules, path, "is named like a test file, but cannot be read as one: call it something else, or see sockwarden rules test %s", path)
		return
	}
	if at := holdsRules(doc.Content[0]); at != nil {
		l.problems.add(src.problem(idTestOfRules, at.Line, at.Column, fmt.Sprintf("%s in a file that is named like a test, which is not read: give it another name", at.Value)))
	}
}

// holdsRules returns the key by which a mapping is a rules file and no test file, nil if it
// is none.
func holdsRules(root *yaml.Node) *yaml.Node {
	if root.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		k, v := root.Content[i], root.Content[i+1]
		if k.Value == "protect" {
			return k
		}
		for _, one := range v.Content {
			if k.Value == "rules" && one.Kind == yaml.MappingNode && hasKey(one, "when") {
				return k
			}
		}
	}
	return nil
}

func hasKey(n *yaml.Node, name string) bool {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return true
		}
	}
	return false
}
