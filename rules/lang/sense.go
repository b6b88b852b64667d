package lang

import "github.com/expr-lang/expr/ast"

// sense says what happens to a condition as a part of it becomes true: it becomes true
// too, or false, or one cannot tell.
type sense int8

const (
	asWritten sense = 1
	negated   sense = -1
	eitherWay sense = 0
)

// SetUse says in which senses a condition asks a set: whether more in it can only make
// the condition true of more, and whether it can do something else.
type SetUse struct{ AsWritten, Otherwise bool }

// within compiles a part of a condition in the given sense.
func (c *compiler) within(s sense, n ast.Node) (operand, bool) {
	outer := c.sense
	c.sense = s
	o, ok := c.compile(n)
	c.sense = outer
	return o, ok
}

// useSet notes in which sense a set is asked, and returns the set, or the set with later
// additions where these can only make the condition true of more. Its contents are data:
// a condition stays the same when they change.
func (v *vocabulary) useSet(name string, s *Set, asked sense) *Set {
	v.uses[name] = "a set"
	use := v.sets[name]
	use.AsWritten = use.AsWritten || asked == asWritten
	use.Otherwise = use.Otherwise || asked != asWritten
	v.sets[name] = use
	if grown := v.sc.Grown[name]; grown != nil && asked == asWritten {
		return grown
	}
	return s
}
