package main

import (
	"slices"
	"testing"

	"github.com/spf13/pflag"
)

// The line that says how to go on repeats every flag that decides what is done, as a
// shell reads it.
func TestSameCycle(t *testing.T) {
	cmd := auditCommand(&app{})
	args := []string{
		"--rules", "my rules.yaml", "--rules=b.yaml", "--var", "exclude_ports+=22,3306", "--var", "x=it's", "--observe", "1s", "--each", "-o", "json",
		"--allow-unknown-owner", "--no-pushdown=false", "--breaker", "7", "--netns", "host,a",
	}
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	want := `--allow-unknown-owner --breaker 7 --netns host,a --rules 'my rules.yaml' --rules b.yaml --var exclude_ports+=22,3306 --var 'x=it'\''s'`
	if got := sameCycle(cmd); got != want {
		t.Errorf("%s\nnot\n%s", got, want)
	}
	if got := sameCycle(auditCommand(&app{})); got != "" {
		t.Error(got)
	}
	// Every flag, a new one too, is in one of the two lists.
	shown := []string{"output", "quiet", "each", "all", "audit-log", "live", "dry-run", "metrics-file", "metrics-top"}
	runCommand(&app{}).Flags().VisitAll(func(f *pflag.Flag) {
		if slices.Contains(cycleFlags, f.Name) == slices.Contains(shown, f.Name) {
			t.Errorf("does it depend on --%s what a cycle does?", f.Name)
		}
	})
}
