package rules

import (
	"slices"
	"sync"

	"sockwarden/rules/lang"
)

// asShipped reports whether a condition is one of the built-in rules, or of a copy of
// them, and waits for as long.
func asShipped(c *Cond) bool {
	ages, found := shippedAges()[c.Text]
	return found && slices.Equal(c.AgesOver(), ages)
}

// shippedAges are the ages that the conditions of the built-in rules wait for, by their
// texts.
var shippedAges = sync.OnceValue(func() map[string][]float64 {
	f := newRulesFile(Builtin, builtinText, &problemList{})
	f.parse(nil, nil) // what it says about actions does not matter here
	sc := f.names.scope()
	ages := map[string][]float64{}
	for i := range f.rules.rules {
		if c, _ := lang.Compile(f.rules.rules[i].when.Value, sc); c != nil {
			ages[c.Text] = c.AgesOver()
		}
	}
	return ages
})
