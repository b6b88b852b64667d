package rules

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"sockwarden/collectors"
)

// Selection is a condition that was put together on the command line rather
// than written in a file.
type Selection struct {
	Name string
	// Text is the condition; it is about every protocol that it does not exclude.
	Text    string
	Sets    map[string]*Set
	Mode    Mode
	Then    []Rung
	Protect []*Protect
	NetNS   string
	// Reads are fields that are wanted besides those that the text reads.
	Reads collectors.FieldSet
}

// NewSelection compiles a program of one rule without limits. The error is
// Problems.
func NewSelection(s Selection) (*Program, error) {
	src := newSource("expression", s.Text)
	cond, errs := compileCond(s.Text, &scope{sets: s.Sets})
	if cond == nil {
		return nil, src.problems(errs)
	}
	// Saying so keeps the rule from being about TCP only.
	cond.Reads |= collectors.Fields(collectors.FieldProtocol)
	netns := strings.Split(s.NetNS, ",")
	if s.NetNS == "" {
		netns = []string{"host"}
	}
	p := &Program{
		Rules:      []*Rule{{Name: s.Name, When: cond, Mode: s.Mode, Then: s.Then, netns: netns}},
		Protect:    s.Protect,
		NetNS:      netns,
		Reads:      s.Reads,
		Generation: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(s.Text))),
	}
	p.seal()
	return p, nil
}

// CheckExpr reports what is wrong with a condition that a person wrote as one
// argument. The error is Problems.
func CheckExpr(text string, sets map[string]*Set) error {
	cond, errs := compileCond(text, &scope{sets: sets})
	if cond == nil {
		return newSource("expression", text).problems(errs)
	}
	return nil
}

func (s *source) problems(errs []exprError) Problems {
	var out problemList
	for _, e := range errs {
		line, column := s.position(min(e.from, len(s.runes)))
		out.add(s.problem(line, column, e.message))
	}
	return out.all()
}
