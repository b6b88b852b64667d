package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"sockwarden/rules"
)

// oldFlags says what has become of the flags of the scripts that sockwarden replaces.
var oldFlags = map[string]string{
	"--close-wait-timeout": "--var close_wait_timeout=SECONDS",
	"--fin-wait-timeout":   "--var fin_wait_timeout=SECONDS",
	"--time-wait-timeout":  "--var time_wait_timeout=SECONDS",
	"--exclude-ports":      "--var exclude_ports=22,3306 (or exclude_ports+=3306 to add)",
	"--include-ports":      "--var include_ports=80,443",
	"--exclude-processes":  "--var exclude_processes=nginx",
	"--mode":               "-s established, or no -s for every state: sockwarden kill -s established -p rustdesk -y",
	"-m":                   "-s established, or no -s for every state: sockwarden kill -s established -p rustdesk -y",
	"--list":               "the list command: sockwarden list -s established -p rustdesk",
	"-l":                   "--live (hung_connection_killer: sockwarden run --live), or the list command (RustDesk script)",
	"--live":               "the run command: sockwarden run --live",
	"--dry-run":            "the audit command: sockwarden audit",
	"-n":                   "the audit command: sockwarden audit",
}

// ssFlags tells users of ss what to give list instead.
var ssFlags = map[string]string{
	"t": "-t is --proto tcp",
	"u": "-u is --proto udp",
	"l": "-l is -s listen",
	"n": "-n is left out: addresses and ports are numbers",
	"a": "-a is left out: every state is listed, listeners included",
	"x": "-x is not there: sockwarden knows TCP and UDP, ss -x lists Unix sockets",
	"4": `-4 is 'family == "ipv4"'`,
	"6": `-6 is 'family == "ipv6"'`,
	"e": "-e is --columns, such as user,inode,cookie",
	"i": "-i is --columns, such as rtt,rto,unacked,lost",
	"m": "-m is --columns, such as recv_queue,send_queue",
	"p": "-p of ss is left out: processes are listed",
	"H": "-H is left out: -o jsonl has no heading",
	"K": "-K is the kill command",
}

// asOfSS says what to write for list instead of short flags of ss, one or several
// together; "" if one of them is not a flag of ss.
func asOfSS(cmd *cobra.Command, missing *pflag.NotExistError) string {
	if cmd.Name() != "list" || missing.GetSpecifiedShortnames() == "" {
		return ""
	}
	var texts []string
	for _, letter := range missing.GetSpecifiedShortnames() {
		text, ok := ssFlags[string(letter)]
		if !ok {
			return ""
		}
		texts = append(texts, text)
	}
	return strings.Join(texts, "; ")
}

// flagError says what is wrong with a flag, and what to write instead.
func flagError(cmd *cobra.Command, err error) error {
	text := err.Error()
	name := ""
	if missing, ok := errors.AsType[*pflag.NotExistError](err); ok {
		name = "--" + missing.GetSpecifiedName()
		if len(missing.GetSpecifiedShortnames()) > 0 {
			name = "-" + missing.GetSpecifiedName()
		}
		text = "unknown flag " + name
		if now := asOfSS(cmd, missing); now != "" {
			text += ": " + now
		} else if name == "--from" {
			text += ": nothing is ever done to a recording; list, audit, rules explain and rules diff look at one"
		} else if now, ok := oldFlags[name]; ok {
			text += ": it is now " + now
		} else {
			var known []string
			cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, "--"+f.Name) })
			text += rules.Suggest(name, known)
		}
	}
	if missing, ok := errors.AsType[*pflag.ValueRequiredError](err); ok {
		value, usage := pflag.UnquoteUsage(missing.GetFlag())
		text = fmt.Sprintf("--%s needs a value (%s): %s", missing.GetFlag().Name, value, usage)
	}
	if wrong, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		text = wrongValue(wrong)
	}
	return &exitError{code: exitUsage, err: errors.New(text), hint: fmt.Sprintf("%s --help", cmd.CommandPath())}
}

// wrongValue says, for people, what is wrong with the value of a flag.
func wrongValue(err *pflag.InvalidValueError) string {
	name, value := "--"+err.GetFlag().Name, err.GetValue()
	number, isNumber := errors.AsType[*strconv.NumError](err)
	switch {
	case !isNumber:
		return fmt.Sprintf("%s: %v", name, err.Unwrap())
	case err.GetFlag().Value.Type() == "bool":
		return fmt.Sprintf("%s: %q is neither true nor false", name, value)
	case errors.Is(number, strconv.ErrRange):
		return fmt.Sprintf("%s: %s is too large", name, value)
	}
	return fmt.Sprintf("%s: %q is not a whole number", name, value)
}

// emptyValues refuses flags with an empty value, as from a script whose variable is not
// set: the command would do something else without them.
func emptyValues(cmd *cobra.Command) error {
	var empty []string
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if f.Value.Type() == "string" && strings.TrimSpace(f.Value.String()) == "" {
			empty = append(empty, "--"+f.Name)
		}
	})
	if len(empty) > 0 {
		return usagef("%s: empty value; give one, or leave it out", empty[0])
	}
	if f := cmd.Flags().Lookup("netns"); f != nil && f.Changed {
		for name := range strings.SplitSeq(f.Value.String(), ",") {
			if strings.TrimSpace(name) == "" {
				return usagef("--netns: empty name in %q", f.Value)
			}
		}
	}
	return nil
}

// helpCommand is cobra's, except that it refuses topics without help.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		Long:  "Shows the help of a command, as --help does.",
		Example: `  sockwarden help audit
  sockwarden help rules check`,
		ValidArgsFunction: completeCommands,
		RunE: func(cmd *cobra.Command, args []string) error {
			found, rest, err := cmd.Root().Find(args)
			if err != nil {
				return err //nolint:wrapcheck // it names the command
			}
			if len(rest) > 0 {
				return unknownCommand(found, rest[0])
			}
			found.InitDefaultHelpFlag()
			return found.Help()
		},
	}
}

func completeCommands(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	found, rest, err := cmd.Root().Find(args)
	if err != nil || len(rest) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, c := range found.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name()+"\t"+c.Short)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func unknownCommand(cmd *cobra.Command, name string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			names = append(names, c.Name())
		}
	}
	text := fmt.Sprintf("unknown command %q%s", name, rules.Suggest(name, names))
	return &exitError{code: exitUsage, err: errors.New(text), hint: fmt.Sprintf("%s --help; there are %s", cmd.CommandPath(), strings.Join(names, ", "))}
}

// noArgs refuses arguments for a command that takes none.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no argument, not %q", cmd.CommandPath(), args[0])
	}
	return nil
}

// oneExpr allows a single expression; several mean that quotes are missing.
func oneExpr(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usagef("the expression is one argument, there are %d: put it in quotes, %s '%s'", len(args), cmd.CommandPath(), strings.Join(args, " "))
	}
	return nil
}

// refine turns what cobra reports as text into usage errors.
func refine(err error) error {
	if err == nil {
		return nil
	}
	for _, prefix := range []string{"flag needs an argument", "invalid argument", "required flag", "accepts ", "unknown shorthand", "unknown flag"} {
		if strings.HasPrefix(err.Error(), prefix) {
			if _, ok := errors.AsType[*exitError](err); !ok {
				return &exitError{code: exitUsage, err: err}
			}
		}
	}
	return err
}
