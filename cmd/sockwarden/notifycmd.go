package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sockwarden/actions"
	"sockwarden/engine/news"
	"sockwarden/rules"
)

func notifyCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "notify test NAME",
		Short: "Send a test message through an entry of actions in the rules",
		Example: `  sockwarden notify test ops
  sockwarden notify test ops --rules rules.yaml`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	test := &cobra.Command{
		Use:   "test NAME [flags]",
		Short: "Send a test message",
		Long:  "Sends a test message to the receiver that rules files name NAME under actions, and says how it went.",
		Example: `  sockwarden notify test ops
  sockwarden notify test ops --rules rules.yaml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("notify test takes the name of one entry of actions")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			p, err := a.load(cmd.Context(), true)
			if err != nil {
				return err
			}
			config, ok := p.Notifiers[args[0]]
			if !ok {
				known := sorted(p.Notifiers)
				if len(known) == 0 {
					return usagef("no entry %q: the rules have nothing under actions", args[0])
				}
				there := "there is"
				if len(known) > 1 {
					there = "there are"
				}
				return usagef("no entry %q under actions of the rules%s; %s %s", args[0], rules.Suggest(args[0], known), there, strings.Join(known, ", "))
			}
			host, err := os.Hostname()
			if err != nil {
				return fmt.Errorf("name of this machine: %w", err)
			}
			m := actions.Message{Time: time.Now(), Host: host, Mode: "test", Event: actions.EventTest, Rule: "test", Generation: p.Generation, Lines: []string{}, Counts: []actions.Count{}}
			if err := news.Send(cmd.Context(), builtinNotifiers(), config, m); err != nil {
				return &exitError{code: exitFailed, err: fmt.Errorf("%s: %w", args[0], err)}
			}
			_, err = fmt.Fprintf(a.stdout, "%s has accepted the message\n", args[0])
			return quietPipe(err)
		},
	}
	declare{a, test}.rules()
	cmd.AddCommand(test)
	return cmd
}
