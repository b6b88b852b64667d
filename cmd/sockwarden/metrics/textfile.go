package metrics

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sys/unix"

	"sockwarden/engine/memory"
)

// maxFile bounds what is read of a file of metrics, in bytes: ours are far smaller.
const maxFile = 8 << 20

// errNoMetrics says that a file is not one of ours.
var errNoMetrics = errors.New("it is no file of metrics")

// lockPatience is how long a run waits for others that write the same file: each takes
// milliseconds.
const lockPatience = 10 * time.Second

// WriteFile puts the metrics into a file for node_exporter's textfile collector, and
// replaces it as a whole. Counters go on from what the file says: each run is a program of
// its own, and the file is its memory. Runs that end at the same time write one after the
// other, by a lock beside the file. The second error says that counters begin anew, as the
// file could not be read.
func WriteFile(ctx context.Context, path string, c *Collector) (err, lost error) {
	lock, err := memory.LockWithin(ctx, path+".lock", lockPatience)
	if err != nil {
		return fmt.Errorf("metrics: %w", err), nil
	}
	defer func() { _ = lock.Close() }()
	memory.RemoveLeftovers(path)
	registry := prometheus.NewRegistry()
	if err := registry.Register(c); err != nil {
		return fmt.Errorf("metrics: %w", err), nil
	}
	families, err := registry.Gather()
	if err != nil {
		return fmt.Errorf("metrics: %w", err), nil
	}
	before, lost := readFile(path)
	for _, m := range all {
		if m.kind != prometheus.GaugeValue && before[m.name] != nil {
			families = goOn(families, before[m.name])
		}
	}
	var text bytes.Buffer
	encoder := expfmt.NewEncoder(&text, expfmt.NewFormat(expfmt.TypeTextPlain))
	for _, f := range families {
		if err := encoder.Encode(f); err != nil {
			return fmt.Errorf("metrics: %w", err), lost
		}
	}
	const mode = 0o644 // node_exporter is another user
	return memory.ReplaceFile(path, text.Bytes(), mode), lost
}

// readFile reads the metrics of a file; none if there is no such file.
func readFile(path string) (map[string]*dto.MetricFamily, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // the first run
	}
	if err != nil {
		return nil, err //nolint:wrapcheck // says what and where
	}
	defer func() { _ = f.Close() }()
	st, err := f.Stat()
	if err != nil || !st.Mode().IsRegular() || st.Size() > maxFile {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, errNoMetrics), err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(io.LimitReader(f, maxFile))
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %w", path, errNoMetrics, err)
	}
	return families, nil
}

// goOn adds what a counter or a histogram was before to what it is.
func goOn(families []*dto.MetricFamily, before *dto.MetricFamily) []*dto.MetricFamily {
	i := slices.IndexFunc(families, func(f *dto.MetricFamily) bool { return f.GetName() == before.GetName() })
	if i < 0 { // nothing of this kind happened now
		return append(families, before)
	}
	now := families[i]
	if now.GetType() != before.GetType() {
		return families
	}
	for _, was := range before.GetMetric() {
		k := slices.IndexFunc(now.GetMetric(), func(m *dto.Metric) bool { return sameLabels(m, was) })
		switch {
		case k >= 0:
			add(now.GetMetric()[k], was)
		case len(now.GetMetric()) < maxSeries:
			now.Metric = append(now.Metric, was)
		}
	}
	return families
}

func sameLabels(a, b *dto.Metric) bool {
	return slices.EqualFunc(a.GetLabel(), b.GetLabel(), func(x, y *dto.LabelPair) bool { return x.GetName() == y.GetName() && x.GetValue() == y.GetValue() })
}

func add(m, was *dto.Metric) {
	if m.GetCounter() != nil && was.GetCounter() != nil {
		sum := m.GetCounter().GetValue() + was.GetCounter().GetValue()
		m.Counter.Value = &sum
		return
	}
	h, old := m.GetHistogram(), was.GetHistogram()
	buckets := slices.DeleteFunc(slices.Clone(old.GetBucket()), func(b *dto.Bucket) bool {
		return b.GetUpperBound() > h.GetBucket()[len(h.GetBucket())-1].GetUpperBound()
	})
	if !slices.EqualFunc(h.GetBucket(), buckets, func(x, y *dto.Bucket) bool { return x.GetUpperBound() == y.GetUpperBound() }) {
		return // that of another version
	}
	for i, b := range h.GetBucket() {
		n := b.GetCumulativeCount() + buckets[i].GetCumulativeCount()
		b.CumulativeCount = &n
	}
	count, sum := h.GetSampleCount()+old.GetSampleCount(), h.GetSampleSum()+old.GetSampleSum()
	h.SampleCount, h.SampleSum = &count, &sum
}
