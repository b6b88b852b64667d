package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"sockwarden/collectors"
	"sockwarden/engine/recording"
	"sockwarden/rules"
)

// from declares --from, for commands that decide and never act.
func (d declare) from() {
	d.cmd.Flags().StringVar(&d.app.flags.from, "from", "", "look at this recording (`FILE`) instead of this host, - for stdin: no root needed")
}

// notFrom are the flags that say how to look at a host.
var notFrom = []string{"state-file", "collect", "owners", "events", "no-pushdown", "observe", "audit-log", "dead"}

// recordingOnly refuses flags that say how to look at a host, if there is a recording.
func recordingOnly(cmd *cobra.Command) error {
	if f := cmd.Flags().Lookup("from"); f == nil || !f.Changed {
		return nil
	}
	for _, name := range notFrom {
		if f := cmd.Flags().Lookup(name); f != nil && f.Changed {
			return usagef("--%s is about this host, and --from about a recording: leave one out", name)
		}
	}
	return nil
}

// replayed opens the recording of --from, once, nil if there is none.
func (a *app) replayed() (*recording.World, error) {
	if a.flags.from == "" || a.replay != nil {
		return a.replay, nil
	}
	var r *recording.Recording
	var err error
	if a.flags.from == "-" {
		if r, err = recording.ReadAny(a.stdin); err != nil {
			return nil, fmt.Errorf("recording from stdin: %w", err)
		}
	} else if r, err = recording.Open(a.flags.from); err != nil {
		return nil, err
	}
	a.replay = r.World()
	return a.replay, nil
}

// unrecorded warns of rules that read what the recording does not have.
func (a *app) unrecorded(p *rules.Program) error {
	w, err := a.replayed()
	if w == nil || w.HasCmdline() {
		return err
	}
	for _, r := range p.Rules {
		if r.When.Reads.Has(collectors.FieldCmdline) || r.Unless != nil && r.Unless.Reads.Has(collectors.FieldCmdline) {
			a.log.Warn("the recording has no arguments of processes: cmdline is unknown", "rule", r.Name, "hint", "record --cmdline")
		}
	}
	for _, pr := range p.Protect {
		if pr.When.Reads.Has(collectors.FieldCmdline) {
			a.log.Warn("the recording has no arguments of processes: cmdline is unknown", "protect", pr.Name, "hint", "record --cmdline")
		}
	}
	return nil
}
