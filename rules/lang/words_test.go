package lang

import (
	"slices"
	"testing"
)

// TestWords: the example of each word is a condition, and no word is missing that names
// of conditions cannot have.
func TestWords(t *testing.T) {
	patience := &Value{Type: TypeMap, Map: map[string]Scalar{"postgres": {IsNumber: true, Number: 600}}}
	var names []string
	for _, w := range Words() {
		names = append(names, w.Name)
		if cond, errs := Compile(w.Example, &Scope{Vars: map[string]*Value{"patience": patience}}); cond == nil || w.Meaning == "" {
			t.Errorf("%s: %s: %v", w.Name, w.Example, errs)
		}
	}
	for _, name := range []string{"known", "lookup", "matches", "contains", "startsWith", "endsWith", "in", "and", "or", "not"} {
		if !slices.Contains(names, name) {
			t.Errorf("%s is missing", name)
		}
	}
}
