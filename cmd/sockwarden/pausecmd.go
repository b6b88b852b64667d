package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"sockwarden/engine"
	"sockwarden/rules"
)

func (a *app) pauseCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "pause [TIME]",
		Short: "Make live runs and watchers only observe, for a time or until resume",
		Long: `Throws a switch that every live run and watcher of this user looks at immediately
before each effect: they go on looking, and do nothing, until the time is over
or "sockwarden resume". kill is not affected: it asks by itself.`,
		Example: `  sudo sockwarden pause 30m
  sudo sockwarden pause          # until sockwarden resume`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("pause takes one time, such as 30m, not %d", len(args))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			path, err := pauseFile()
			if err != nil {
				return err
			}
			p := engine.Pause{Since: time.Now(), By: invoker()}
			if len(args) == 1 {
				d, err := rules.ParseDuration(args[0])
				if err != nil || d <= 0 {
					return usagef("%q is no time: write it as 30m or 2h", args[0])
				}
				p.Until = p.Since.Add(d)
			}
			if err := p.Write(path); err != nil {
				return err
			}
			_, err = fmt.Fprintf(a.stdout, "paused %s\n", p.String())
			return quietPipe(err)
		},
	}
}

func (a *app) resumeCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "resume",
		Short:   "End a pause",
		Example: "  sudo sockwarden resume",
		Args:    noArgs,
		RunE: func(*cobra.Command, []string) error {
			path, err := pauseFile()
			if err != nil {
				return err
			}
			was, err := engine.Resume(path)
			if err != nil {
				return err
			}
			text := "resumed"
			if !was {
				text = "was not paused"
			}
			_, err = fmt.Fprintln(a.stdout, text)
			return quietPipe(err)
		},
	}
}

func pauseFile() (string, error) {
	path := engine.PauseFile()
	if path == "" {
		return "", &exitError{code: exitFailed, err: fmt.Errorf("there is no directory for the switch: XDG_RUNTIME_DIR is not set"), hint: "run as root, as the runs that you want to pause"}
	}
	return path, nil
}
