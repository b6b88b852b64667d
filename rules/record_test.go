package rules

import (
	"strings"
	"testing"

	"sockwarden/collectors"
	"sockwarden/rules/lang"
	"sockwarden/rules/lang/langtest"
)

// leak, without and the other records are the ones that test the language.
func leak() *collectors.Record { return langtest.Leak() }

func without(fields ...collectors.Field) *collectors.Record { return langtest.Without(fields...) }

const (
	definitions       = langtest.Definitions
	randomDefinitions = langtest.RandomDefinitions
)

// scopeOf returns the names that a file defines; the file must be good.
func scopeOf(t testing.TB, text string) *lang.Scope {
	t.Helper()
	var wrong problemList
	f := newRulesFile("rules.yaml", "version: 1\n"+text, &wrong)
	f.parse(testCatalog(), nil)
	sc := f.names.scope()
	if wrong.seen > 0 {
		t.Fatal(wrong.all())
	}
	sc.Shared = nil // tests go on compiling without a limit
	return sc
}

// compiled compiles a condition in a scope, which must succeed.
func compiled(t testing.TB, sc *lang.Scope, text string) *Cond {
	t.Helper()
	c, errs := lang.Compile(text, sc)
	if c == nil {
		var lines []string
		for _, e := range errs {
			lines = append(lines, e.Message)
		}
		t.Fatalf("%s: %s", text, strings.Join(lines, "; "))
	}
	return c
}

// statesIn names the states of a mask.
func statesIn(m collectors.StateMask) []string {
	var in []string
	for _, name := range collectors.StateNames() {
		if s, _ := collectors.ParseState(name); m.Has(s) {
			in = append(in, name)
		}
	}
	return in
}

func fieldNamed(t testing.TB, name string) collectors.Field {
	t.Helper()
	f, ok := collectors.FieldByName(name)
	if !ok {
		t.Fatalf("no field %s", name)
	}
	return f
}
