package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sockwarden/cmd/sockwarden/metrics"
	"sockwarden/collectors/trust"
	"sockwarden/engine"
	"sockwarden/engine/news"
	"sockwarden/engine/pause"
	"sockwarden/engine/silence"
	"sockwarden/rules"
)

// metricsFile holds the flags of a run that writes a file of metrics, and what leads to
// it.
type metricsFile struct {
	app      *app
	cmd      *cobra.Command
	path     string
	top      int
	recorder *metrics.Recorder // nil without a file
}

func (m *metricsFile) register(app *app, cmd *cobra.Command) {
	m.app, m.cmd = app, cmd
	cmd.Flags().StringVar(&m.path, "metrics-file", "", "write metrics to this `FILE`.prom for node_exporter's textfile collector")
	metricsTop(cmd, &m.top)
}

// textfileSuffix ends the names of files that node_exporter reads.
const textfileSuffix = ".prom"

// check refuses flags that cannot be meant, and a directory that is not there: before
// anything is done.
func (m *metricsFile) check() error {
	if err := checkTop(m.cmd, m.top, "--metrics-file", m.path); err != nil || m.path == "" {
		return err
	}
	if !strings.HasSuffix(m.path, textfileSuffix) {
		return usagef("--metrics-file: node_exporter reads only files whose names end in %s: %s%s", textfileSuffix, m.path, textfileSuffix)
	}
	dir, _, err := trust.Parent(m.path)
	if err != nil {
		return fmt.Errorf("--metrics-file: %w; nothing was done", err)
	}
	dir.Close()
	return nil
}

// begin prepares for a run by these rules.
func (m *metricsFile) begin(p *rules.Program) []news.Observer {
	if m.path == "" {
		return nil
	}
	m.recorder = metrics.NewRecorder(p)
	return []news.Observer{m.recorder}
}

// failed notes that the cycle that began then could not look at anything.
func (m *metricsFile) failed(ctx context.Context, began time.Time, err error) {
	if m.recorder != nil {
		m.recorder.Failed(ctx, time.Since(began), err)
	}
}

// write writes the file at the end of a run, and reports the error of that unless the run
// has one of its own.
func (m *metricsFile) write(ctx context.Context, live bool, ran error) error {
	if m.recorder == nil {
		return ran
	}
	census := m.count(ctx)
	err, lost := metrics.WriteFile(context.WithoutCancel(ctx), m.path, &metrics.Collector{
		Version: versionText(), Live: live, Recorder: m.recorder, Census: func() *engine.Census { return census }, PauseFiles: pause.Files(),
		Silences: silence.NewStore(m.app.silences()...), Top: m.top,
	})
	if lost != nil {
		m.app.log.Warn("counters of the metrics begin anew", "error", lost)
	}
	switch {
	case err == nil:
		return ran
	case ran != nil:
		m.app.log.Error("no metrics", "error", err)
		return ran
	}
	return &exitError{code: exitFailed, err: fmt.Errorf("--metrics-file: %w", err)}
}

// count takes a census; nil if that is not possible, and the log says why.
func (m *metricsFile) count(ctx context.Context) *engine.Census {
	counter, err := m.app.counter(false)
	if err != nil {
		m.app.log.Warn("sockets are not counted", "error", err)
		return nil
	}
	defer counter.Close()
	n, err := counter.Count(ctx, m.recorder.NetNS(), m.recorder.Inodes())
	if err != nil {
		m.app.log.Warn("sockets are not counted", "error", err)
		return nil
	}
	if len(n.Errors) > 0 {
		m.app.log.Warn("sockets are not all counted", "error", n.Errors[0])
	}
	return n
}
