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
	Text string
	// Owner is a condition that must hold for one of the owners, and not, as Text, for
	// each of several; "" for none.
	Owner   string
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
	if s.Owner != "" {
		if errs = cond.ofOneOwner(s.Owner); errs != nil {
			return nil, newSource("selectors", s.Owner).problems(errs)
		}
	}
	// Saying so keeps the rule from being about TCP only.
	cond.Reads.Add(collectors.Fields(collectors.FieldProtocol))
	netns := strings.Split(s.NetNS, ",")
	if s.NetNS == "" {
		netns = []string{"host"}
	}
	p := &Program{
		Rules:      []*Rule{{Name: s.Name, When: cond, Mode: s.Mode, Then: s.Then, netns: netns}},
		Protect:    s.Protect,
		NetNS:      netns,
		Reads:      s.Reads,
		Generation: fmt.Sprintf("sha256:%x", sha256.Sum256([]byte(s.Text+"\x00"+s.Owner))),
	}
	p.seal()
	return p, nil
}

// ofOneOwner demands besides that a condition holds for one of the owners.
func (c *Cond) ofOneOwner(text string) []exprError {
	one, errs := compileCond(text, &scope{})
	if one == nil {
		return errs
	}
	c.Reads.Add(one.Reads)
	c.constant = false
	c.eval = andTri(c.eval, func(r *collectors.Record) Tri { return forOneOwner(r, one.eval) })
	return nil
}

// forOneOwner is true if a condition is for one of the owners of a record, and false
// only if it is for all of them, and there are no others.
func forOneOwner(r *collectors.Record, eval func(*collectors.Record) Tri) Tri {
	if r.Facts == nil || len(r.Facts.Owners) == 0 {
		return eval(r)
	}
	best := False
	if r.Facts.OthersHidden {
		best = Unknown
	}
	for i := range r.Facts.Owners {
		of := collectors.NewRecord(r.Socket, r.Namespace, r.Facts, &r.Facts.Owners[i], r.Host)
		switch eval(&of) {
		case True:
			return True
		case Unknown:
			best = Unknown
		case False:
		}
	}
	return best
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
		out.add(s.exprProblem(line, column, e))
	}
	return out.all()
}
