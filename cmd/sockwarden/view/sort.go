package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sockwarden/collectors"
	"sockwarden/engine"
)

// Sort orders sockets by one field; unknown values come first, or last if descending.
// Equal ones keep their order.
func Sort(sockets []*engine.Candidate, by collectors.Field, descending bool) {
	slices.SortStableFunc(sockets, func(x, y *engine.Candidate) int {
		c := compareValues(value(x, by), value(y, by))
		if descending {
			c = -c
		}
		return c
	})
}

// compareValues orders values of one field; unknown ones come first.
func compareValues(a, b any) int {
	switch x := a.(type) {
	case nil:
		if b == nil {
			return 0
		}
		return -1
	case float64:
		if y, ok := b.(float64); ok {
			return cmp.Compare(x, y)
		}
	case bool:
		if y, ok := b.(bool); ok {
			return strings.Compare(fmt.Sprint(x), fmt.Sprint(y))
		}
	default:
		if b != nil {
			return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
		}
	}
	return 1
}
