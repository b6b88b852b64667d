package main

import (
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// cycleFlags are the flags that decide what a cycle finds and would do.
var cycleFlags = []string{
	"rules", "rule", "var", "netns", "state-file", "collect", "breaker", "allow-unknown-owner", "no-pushdown", "owners", "events",
}

// sameCycle writes the flags of a command, quoted for a shell, with which another command
// runs the same cycle.
func sameCycle(cmd *cobra.Command) string {
	var words []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if !slices.Contains(cycleFlags, f.Name) {
			return
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, v := range values {
			switch {
			case f.Value.Type() != "bool":
				words = append(words, "--"+f.Name, quotedForShell(v))
			case v == "true":
				words = append(words, "--"+f.Name)
			}
		}
	})
	return strings.Join(words, " ")
}

// plainWord matches words that no shell changes.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:=,+%@-]+$`)

func quotedForShell(word string) string {
	if plainWord.MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
