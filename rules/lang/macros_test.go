package lang

import (
	"slices"
	"testing"

	"sockwarden/collectors"
	"sockwarden/rules/lang/langtest"
)

// TestMacroUses: a condition depends on everything that its macros use.
func TestMacroUses(t *testing.T) {
	c := compiled(t, scopeOf(t, langtest.Definitions), "both")
	var uses []string
	for _, name := range sortedKeys(c.Uses) {
		uses = append(uses, name+" = "+c.Uses[name])
	}
	if want := []string{
		"both = hung and local", "close_wait_timeout = 60", `hung = state == "CLOSE_WAIT" and age > close_wait_timeout`,
		"local = port in rustdesk", "rustdesk = a set",
	}; !slices.Equal(uses, want) {
		t.Errorf("uses %q, want %q", uses, want)
	}
	if want := collectors.Fields(collectors.FieldState, collectors.FieldAge, collectors.FieldPort); c.Reads != want {
		t.Errorf("reads %b, want %b", c.Reads, want)
	}
}
