package ruletest

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/catalog"
	"sockwarden/engine/explain"
	"sockwarden/engine/recording"
	"sockwarden/engine/scripted"
	"sockwarden/rules"
)

// machine is the clock of an invented world, or of a recording.
type machine interface {
	Now() time.Time
	Advance(d time.Duration)
}

// openRecording reads the recording of a test. The world of the test has its sockets.
func openRecording(f *rules.TestFile, from *rules.TestPath) (*recording.World, error) {
	path := from.Path
	if !filepath.IsAbs(path) {
		path = filepath.Join(filepath.Dir(f.Path), path)
	}
	r, err := recording.Open(path)
	if err != nil {
		return nil, rules.Problems{f.Problem(from.At, "%v", err)}
	}
	return r.World(), nil
}

// recordedCatalog is what rules that look at a recording can name.
func recordedCatalog(plugins []actions.Plugin) (rules.Catalog, error) {
	registry, err := actions.NewRegistry(recording.Actions(plugins...)...)
	if err != nil {
		return nil, fmt.Errorf("actions for a recording: %w", err)
	}
	return catalog.New(registry), nil
}

// newReplay is the stage of a test of a recording.
func newReplay(t *rules.Test, p *rules.Program, w *recording.World) (*stage, error) {
	s := &stage{machine: w, world: scripted.New(t.Start), program: p, test: t, began: w.Now(), cast: newCast()}
	s.nobody = &actor{said: &rules.TestSocket{Name: rules.Nobody}, stage: s, sock: &scripted.Socket{}}
	var err error
	s.Engine, err = engine.New(engine.Options{From: w, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, fmt.Errorf("test %q: %w", t.Name, err)
	}
	return s, nil
}

// recall makes actors of the sockets of a recording, with what can be found out about them.
func (p *play) recall(ctx context.Context, expect []*selected) error {
	reads := collectors.Fields(collectors.FieldProcess)
	for _, x := range expect {
		if x.where != nil {
			reads.Add(x.where.Rules[0].When.Reads)
		}
	}
	all, err := rules.NewSelection(rules.Selection{
		Name: "all", Text: `protocol in ["tcp", "udp", "mptcp"]`, Mode: rules.ModeObserve, NetNS: strings.Join(p.program.NetNS, ","), Reads: reads,
	})
	if err != nil {
		return fmt.Errorf("sockets of the recording: %w", err)
	}
	found, err := p.Explain(ctx, p.program, explain.Question{Selection: all}, 0)
	if err != nil {
		return fmt.Errorf("sockets of the recording: %w", err)
	}
	p.actors = nil
	for _, s := range found.Sockets {
		c := s.Candidate
		name := fmt.Sprintf("%s:%d", c.Socket.Local.Netip(), c.Socket.LocalPort)
		if c.Socket.RemotePort != 0 {
			name += fmt.Sprintf(" <- %s:%d", c.Socket.Remote.Netip(), c.Socket.RemotePort)
		}
		if len(c.Facts.Owners) > 0 {
			name = c.Facts.Owners[0].String() + " " + name
		}
		p.actors = append(p.actors, &actor{
			said: &rules.TestSocket{Name: name}, stage: p.stage, sock: &scripted.Socket{Socket: c.Socket, Owners: c.Facts.Owners},
			recorded: c, namespace: c.NS.Namespace.Namespace,
		})
	}
	return nil
}
