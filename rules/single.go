package rules

import (
	"crypto/sha256"
	"fmt"
	"strings"

	"sockwarden/collectors"
	"sockwarden/rules/lang"
)

// Selection is a condition that was put together on the command line, not written in a
// file.
type Selection struct {
	Name string
	// Text is the condition. It is about TCP and UDP or, if it reads protocol, about
	// every protocol that it does not exclude.
	Text string
	// Owner is a condition that must hold for one of the owners, while Text must hold for
	// each of them; "" for none.
	Owner   string
	Sets    map[string]*Set
	Mode    Mode
	Then    []Rung
	Protect []*Protect
	NetNS   string
	// Reads are fields that are wanted in addition to those that the text reads.
	Reads collectors.FieldSet
}

// NewSelection compiles a program of one rule without limits. The error is
// Problems.
func NewSelection(s Selection) (*Program, error) {
	src := newSource("expression", s.Text)
	cond, errs := lang.Compile(s.Text, &lang.Scope{Sets: s.Sets})
	if cond == nil {
		return nil, src.problems(errs)
	}
	if s.Owner != "" {
		one, errs := lang.Compile(s.Owner, &lang.Scope{})
		if one == nil {
			return nil, newSource("selectors", s.Owner).problems(errs)
		}
		cond = cond.AndOfOneOwner(one)
	}
	asks := cond.Reads.Has(collectors.FieldProtocol)
	// Writing it down keeps the rule from being about TCP only.
	cond.Reads.Add(collectors.Fields(collectors.FieldProtocol))
	netns := strings.Split(s.NetNS, ",")
	if s.NetNS == "" {
		netns = []string{"host"}
	}
	p := &Program{
		Rules:      []*Rule{{Name: s.Name, When: cond, Mode: s.Mode, Then: s.Then, netns: netns, selects: !asks}},
		Protect:    s.Protect,
		NetNS:      netns,
		Reads:      s.Reads,
		Generation: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(s.Text+"\x00"+s.Owner))),
	}
	p.seal()
	return p, nil
}

// CheckExpr reports what is wrong with a condition that a person wrote as one
// argument. The error is Problems.
func CheckExpr(text string, sets map[string]*Set) error {
	cond, errs := lang.Compile(text, &lang.Scope{Sets: sets})
	if cond == nil {
		return newSource("expression", text).problems(errs)
	}
	return nil
}

func (s *source) problems(errs []lang.Error) Problems {
	var out problemList
	for _, e := range errs {
		line, column := s.position(min(e.From, len(s.runes)))
		p := s.exprProblem(line, column, e)
		p.ID = "" // nobody looks up what is wrong with an argument
		out.add(p)
	}
	return out.all()
}
