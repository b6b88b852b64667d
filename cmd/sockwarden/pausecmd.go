package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"sockwarden/collectors/trust"
	"sockwarden/engine/pause"
	"sockwarden/rules"
)

func pauseCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "pause [TIME]",
		Short: "Make live runs and watchers only observe, for a time or until resume",
		Long: `Sets a switch that live runs and watchers check immediately before each effect:
they go on looking, and do nothing, until the time is up or "sockwarden resume"
ends the pause. Meanwhile kill refuses to act, unless --despite-pause is given.

Set by root, it stops the runs of every user of this machine; set by another user,
only that user's runs. A reboot ends it, but root's not where /var/lib/sockwarden
exists: the shipped unit makes that directory.`,
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
			p := pause.Pause{Since: time.Now(), By: invoker()}
			if len(args) == 1 {
				d, err := rules.ParseDuration(args[0])
				if err != nil || d <= 0 {
					return &exitError{
						code: exitUsage, err: fmt.Errorf("%q is not a time: write it as 30m or 2h", args[0]), //nolint:err113 // for people
						hint: "sockwarden pause 30m; without a time it holds until sockwarden resume",
					}
				}
				p.Until = p.Since.Add(d)
			}
			err, ends := p.Set(path)
			if err != nil {
				return err
			}
			if ends != nil {
				a.log.Warn("a reboot ends this pause", "reason", ends)
			}
			if err := othersCanResume(path); err != nil {
				a.log.Warn("others can end this pause", "reason", err)
			}
			text := fmt.Sprintf("paused %s\n", p.String())
			if path != pause.Machine {
				text += "this holds for your own runs; sudo sockwarden pause holds for those of every user\n"
			}
			_, err = fmt.Fprint(a.stdout, text)
			return quietPipe(err)
		},
	}
}

// othersCanResume says why others than root can clear the machine's switch.
func othersCanResume(path string) error {
	if path != pause.Machine {
		return nil
	}
	err := new(trust.Checker).Dir(filepath.Dir(path))
	if _, kept := os.Stat(pause.Kept); kept == nil {
		err = errors.Join(err, new(trust.Checker).Dir(filepath.Dir(pause.Kept)))
	}
	return err
}

func resumeCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "resume",
		Short: "End a pause",
		Long: `Ends the pause that this user can end: root the machine's, others their own. If
another pause is still in force, it says which.`,
		Example: "  sudo sockwarden resume",
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return resume(a) },
	}
}

func resume(a *app) error {
	was := false
	if path := pause.File(); path != "" {
		var err error
		if was, err = pause.Resume(path); err != nil {
			return err
		}
	}
	text := "resumed"
	if !was {
		text = "was not paused"
	}
	if p := pause.Read(time.Now(), pause.Files()...); p != nil {
		if !was {
			return &exitError{code: exitForbidden, err: fmt.Errorf("paused %s, for the whole machine", p), hint: "sudo sockwarden resume"} //nolint:err113 // for people
		}
		text += fmt.Sprintf("; but the whole machine is still paused %s (sudo sockwarden resume)", p)
	}
	_, err := fmt.Fprintln(a.stdout, text)
	return quietPipe(err)
}

func pauseFile() (string, error) {
	path := pause.File()
	if path == "" {
		return "", &exitError{
			code: exitFailed, err: errors.New("there is no directory for the switch: XDG_RUNTIME_DIR is not set"),
			hint: "sudo sockwarden pause stops the runs of every user",
		}
	}
	return path, nil
}
