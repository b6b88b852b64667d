package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/look"
	"sockwarden/engine/report"
	"sockwarden/engine/watch"
	"sockwarden/rules"
)

// scrape returns the samples of a collector, as NAME{VALUE,VALUE} of the labels in the
// order of their names.
func scrape(t *testing.T, c *Collector) map[string]float64 {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(c)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	samples := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			samples[f.GetName()+labelsOf(m)] = m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return samples
}

func labelsOf(m *dto.Metric) string {
	var values []string
	for _, l := range m.GetLabel() {
		values = append(values, l.GetValue())
	}
	return "{" + strings.Join(values, ",") + "}"
}

func collectorOf(n *engine.Census, top int) *Collector {
	return &Collector{Version: "1", Recorder: NewRecorder(&rules.Program{Generation: "sha256:0"}), Census: func() *engine.Census { return n }, Top: top}
}

func expect(t *testing.T, got map[string]float64, want map[string]float64) {
	t.Helper()
	for name, value := range want {
		if v, ok := got[name]; !ok || v != value {
			t.Errorf("%s is %v (%v), not %v", name, v, ok, value)
		}
	}
}

func owner(pid int, name string, fds int, limit uint64) collectors.Owner {
	return collectors.Owner{PID: pid, Name: name, FDs: fds, FDLimit: limit, Known: collectors.Fields(collectors.FieldFDs, collectors.FieldFDLimit)}
}

// The listeners and programs with most have series of their own, all others one together;
// states without sockets are zero.
func TestTop(t *testing.T) {
	n := &engine.Census{Sockets: map[collectors.Protocol]look.ByState{collectors.TCP: {collectors.CloseWait: 7}, collectors.UDP: {}}}
	for i := range 5 {
		o := owner(10+i, fmt.Sprintf("p%d", i), 10*i, 100)
		n.Processes = append(n.Processes, o)
		n.Listeners = append(n.Listeners, look.Listening{Port: uint16(80 + i), Owners: []collectors.Owner{o}, ByState: look.ByState{collectors.Listen: 1, collectors.CloseWait: i}})
	}
	got := scrape(t, collectorOf(n, 2))
	expect(t, got, map[string]float64{
		"sockwarden_sockets{tcp,CLOSE_WAIT}": 7, "sockwarden_sockets{tcp,LISTEN}": 0, "sockwarden_sockets{udp,CLOSE}": 0,
		"sockwarden_listener_sockets{,84,p4,CLOSE_WAIT}": 4, "sockwarden_listener_sockets{,83,p3,CLOSE_WAIT}": 3, "sockwarden_listener_sockets{,83,p3,TIME_WAIT}": 0,
		"sockwarden_listener_sockets{other,other,other,CLOSE_WAIT}": 3, "sockwarden_listener_sockets{other,other,other,LISTEN}": 3,
		"sockwarden_process_open_fds{,p4}": 40, "sockwarden_process_max_fds{,p4}": 100, "sockwarden_process_open_fds{other,other}": 20,
	})
	if _, extra := got["sockwarden_sockets{udp,CLOSE_WAIT}"]; extra || len(got) == 0 {
		t.Error("UDP has a state of TCP")
	}
	series := 0
	for name := range got {
		if strings.HasPrefix(name, "sockwarden_listener_sockets") {
			series++
		}
	}
	if series != 3*11 {
		t.Errorf("%d series of listeners", series)
	}
}

// Of several processes of a program the nearest to its limit counts; no limit is an
// infinite one. Names that are not UTF-8 are made so, and init does not name what it
// passed on.
func TestPrograms(t *testing.T) {
	contained := owner(6, "app\xff", 1, 10)
	contained.Container = strings.Repeat("0123456789abcdef", 4)
	named := contained
	named.PID, named.ContainerName, named.FDs = 7, "web", 2
	n := &engine.Census{
		Sockets: map[collectors.Protocol]look.ByState{},
		Processes: []collectors.Owner{
			owner(2, "app", 50, 1000), owner(3, "app", 40, 100), owner(4, "app", 900, math.MaxUint64), owner(5, "free", 3, math.MaxUint64), contained, named,
			{PID: 8, Name: "unread"},
		},
		Listeners: []look.Listening{
			{Port: 22, Owners: []collectors.Owner{owner(1, "init", 1, 1), owner(9, "sshd", 1, 1)}, ByState: look.ByState{collectors.Listen: 1}},
			{Port: 23, ByState: look.ByState{collectors.Listen: 1}},
		},
	}
	got := scrape(t, collectorOf(n, 20))
	expect(t, got, map[string]float64{
		"sockwarden_process_open_fds{,app}": 40, "sockwarden_process_max_fds{,app}": 100, "sockwarden_process_open_fds{,free}": 3, "sockwarden_process_max_fds{,free}": math.Inf(1),
		"sockwarden_process_open_fds{0123456789ab,app\uFFFD}": 1, "sockwarden_process_open_fds{web,app\uFFFD}": 2,
		"sockwarden_listener_sockets{,22,sshd,LISTEN}": 1, "sockwarden_listener_sockets{,23,,LISTEN}": 1,
	})
	if _, extra := got["sockwarden_process_open_fds{,unread}"]; extra {
		t.Error("descriptors of a process that nobody could read")
	}
}

// What is not known has no series: zero would be a lie.
func TestUnknownIsAbsent(t *testing.T) {
	for name := range scrape(t, collectorOf(nil, 20)) {
		if strings.HasPrefix(name, sockets.name) || strings.HasPrefix(name, lastCycle.name) || strings.HasPrefix(name, reloadOK.name) {
			t.Errorf("%s", name)
		}
	}
}

// Each thing is counted once; what the last look spared is no effect.
func TestRecorder(t *testing.T) {
	observing := &rules.Rule{Name: "seen", Mode: rules.ModeObserve}
	p := &rules.Program{Generation: "sha256:1", Rules: []*rules.Rule{{Name: "leak", Mode: rules.ModeEnforce}, observing}}
	c := collectorOf(nil, 20)
	r := c.Recorder
	for _, result := range []actions.Result{actions.Gone, actions.Gone, actions.Changed, actions.Failed} {
		r.Outcome(t.Context(), &report.Outcome{Rule: "leak", Action: "destroy", Outcome: actions.Outcome{Result: result}})
	}
	began := time.Unix(1000, 0)
	trip := []error{&report.TrippedError{Name: "x"}, errors.New("another")}
	for i, errs := range [][]error{nil, trip, trip, nil, trip} {
		r.Cycle(t.Context(), p, &report.Report{Started: began, Duration: time.Second, Errors: errs, Incomplete: i == 3, Findings: []*report.Finding{
			{Rule: observing, Decision: report.DecideObserve, Candidate: &look.Candidate{}},
		}})
	}
	r.Failed(t.Context(), time.Second, errors.New("nothing"))
	r.Delivered("ops", "sent")
	r.Delivered("ops", "failed")
	r.Delivered("ops", "failed")
	expect(t, scrape(t, c), map[string]float64{
		"sockwarden_actions_total{destroy,gone,leak}": 2, "sockwarden_actions_total{destroy,failed,leak}": 1,
		"sockwarden_cycles_total{ok}": 4, "sockwarden_cycles_total{incomplete}": 1, "sockwarden_cycles_total{failed}": 1,
		"sockwarden_cycle_duration_seconds{}": 6, "sockwarden_last_cycle_timestamp_seconds{}": 1001,
		"sockwarden_breaker_tripped{}": 1, "sockwarden_breaker_trips_total{}": 2,
		"sockwarden_findings{act,leak}": 0, "sockwarden_findings{observe,seen}": 1,
		"sockwarden_notifications_total{ops,sent}": 1, "sockwarden_notifications_total{ops,failed}": 2,
		"sockwarden_rules{enforce}": 1, "sockwarden_rules{observe}": 1, "sockwarden_rules{disabled}": 0, "sockwarden_rules_info{sha256:1}": 1,
	})
	if got := scrape(t, c); len(got) == 0 || got["sockwarden_actions_total{destroy,changed,leak}"] != 0 {
		t.Errorf("%v", got)
	}
}

// Months of reloads give rules many names: their number is bounded, and no effect is lost.
func TestManyNames(t *testing.T) {
	c := collectorOf(nil, 20)
	const names = 3 * maxSeries
	for i := range names {
		c.Recorder.Outcome(t.Context(), &report.Outcome{Rule: fmt.Sprint("r", i), Action: "destroy", Outcome: actions.Outcome{Result: actions.Gone}})
	}
	got, series, sum := scrape(t, c), 0, 0.0
	for name, n := range got {
		if strings.HasPrefix(name, applied.name) {
			series, sum = series+1, sum+n
		}
	}
	if series != maxSeries+1 || sum != names || got[applied.name+"{other,other,other}"] != names-maxSeries {
		t.Errorf("%d series, %v effects", series, sum)
	}
}

// Scrapes share a census for an interval; a slow one keeps none of them long, and one that
// fails leaves nothing old behind.
func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		taken, takes, fails := 0, time.Duration(0), error(nil)
		s := NewShared(10*time.Second, slog.New(slog.NewTextHandler(&log, nil)), func(ctx context.Context) (*engine.Census, error) {
			taken++
			select {
			case <-time.After(takes):
			case <-ctx.Done():
			}
			if fails != nil {
				return nil, fails
			}
			return &engine.Census{At: time.Now()}, nil
		})
		ctx, end := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { s.Run(ctx) })
		defer running.Wait()
		defer end()
		var scrapes sync.WaitGroup
		for range 100 {
			scrapes.Go(func() {
				if s.Newest() == nil {
					t.Error("no census")
				}
			})
		}
		scrapes.Wait()
		time.Sleep(9 * time.Second)
		first := s.Newest()
		synctest.Wait()
		if taken != 1 {
			t.Fatalf("%d censuses in an interval", taken)
		}
		takes = time.Minute
		time.Sleep(time.Second)
		for range 3 { // one is under way all the time
			began := time.Now()
			if n := s.Newest(); n != first {
				t.Errorf("%v while a census is under way", n)
			}
			if waited := time.Since(began); waited != patience {
				t.Errorf("a scrape waited for %v", waited)
			}
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		takes, fails = 0, errors.New("no sockets today")
		n := s.Newest()
		if synctest.Wait(); n != nil || taken != 3 {
			t.Errorf("%v after %d censuses, the last of which failed", n, taken)
		}
		time.Sleep(time.Minute)
		_ = s.Newest()
		synctest.Wait()
		if n := strings.Count(log.String(), "no sockets today"); n != 1 {
			t.Errorf("said %d times: %s", n, log.String())
		}
	})
}

// A run goes on with the counters that its file has from the runs before, whatever kind
// they are; what is not there any more stays counted. A gauge is as it is.
func TestWriteFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sockwarden.prom")
	p := &rules.Program{Generation: "sha256:1", Rules: []*rules.Rule{{Name: "leak", Mode: rules.ModeEnforce}}}
	for i := range 3 {
		c := collectorOf(nil, 20)
		rule := []string{"leak", "leak", "renamed"}[i]
		c.Recorder.Outcome(t.Context(), &report.Outcome{Rule: rule, Action: "destroy", Outcome: actions.Outcome{Result: actions.Gone}})
		c.Recorder.Cycle(t.Context(), p, &report.Report{Started: time.Unix(1000, 0), Duration: time.Duration(i+1) * time.Second})
		if err, lost := WriteFile(t.Context(), path, c); err != nil || lost != nil {
			t.Fatal(err, lost)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`sockwarden_actions_total{action="destroy",result="gone",rule="leak"} 2`, `sockwarden_actions_total{action="destroy",result="gone",rule="renamed"} 1`,
		`sockwarden_cycles_total{result="ok"} 3`, `sockwarden_cycle_duration_seconds_bucket{le="1"} 1`, `sockwarden_cycle_duration_seconds_bucket{le="5"} 3`,
		`sockwarden_cycle_duration_seconds_bucket{le="+Inf"} 3`, `sockwarden_cycle_duration_seconds_sum 6`, `sockwarden_cycle_duration_seconds_count 3`,
		`sockwarden_last_cycle_timestamp_seconds 1003`, `sockwarden_rules{mode="enforce"} 1`,
	} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("no line %s in\n%s", line, text)
		}
	}
	for _, broken := range []string{"what is this {", "sockwarden_cycles_total{result=\"ok\"} many\n"} {
		if err := os.WriteFile(path, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		if err, lost := WriteFile(t.Context(), path, collectorOf(nil, 20)); err != nil || !errors.Is(lost, errNoMetrics) {
			t.Error(err, lost)
		}
	}
}

// Runs that end at the same time lose nothing of each other: no counter ever falls, and at
// the end all is counted.
func TestWriteFileTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sockwarden.prom")
	const runs, times = 16, 6
	var all sync.WaitGroup
	for range runs {
		all.Go(func() {
			counted := 0.0
			for range times {
				c := collectorOf(nil, 20)
				c.Recorder.Failed(t.Context(), time.Second, errors.New("nothing"))
				if err, lost := WriteFile(t.Context(), path, c); err != nil || lost != nil {
					t.Error(err, lost)
				}
				families, err := readFile(path)
				if err != nil {
					t.Error(err)
				}
				now := 0.0
				for _, m := range families["sockwarden_cycles_total"].GetMetric() {
					now += m.GetCounter().GetValue()
				}
				if now <= counted {
					t.Errorf("%v cycles after %v", now, counted)
				}
				counted = now
			}
		})
	}
	all.Wait()
	text, err := os.ReadFile(path)
	if want := fmt.Sprintf("\nsockwarden_cycles_total{result=\"failed\"} %d\n", runs*times); err != nil || !strings.Contains(string(text), want) {
		t.Errorf("no line %s in\n%s", want, text)
	}
}

// What others put in the place of the file is neither followed nor waited for.
func TestWriteFileMeetsOthers(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(dir, "secret")
	if err := os.WriteFile(secret, []byte("s"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, put := range map[string]func(string) error{
		"link":  func(path string) error { return os.Symlink(secret, path) },
		"pipe":  func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"large": func(path string) error { return errors.Join(os.WriteFile(path, nil, 0o600), os.Truncate(path, 1<<40)) },
	} {
		path := filepath.Join(dir, name+".prom")
		if err := put(path); err != nil {
			t.Fatal(err)
		}
		if err, lost := WriteFile(t.Context(), path, collectorOf(nil, 20)); err != nil || lost == nil {
			t.Errorf("%s: %v, %v", name, err, lost)
		}
		if st, err := os.Lstat(path); err != nil || !st.Mode().IsRegular() || st.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v %v", name, st, err)
		}
	}
	if text, err := os.ReadFile(secret); err != nil || string(text) != "s" {
		t.Errorf("%q %v", text, err)
	}
}

// What the watcher says of itself is there once it has begun.
func TestOfAWatcher(t *testing.T) {
	c := collectorOf(nil, 1)
	var s *watch.Status
	c.Status = func() *watch.Status { return s }
	if _, there := scrape(t, c)["sockwarden_events_lost_total{}"]; there {
		t.Error("lost events before the watcher has begun")
	}
	s = &watch.Status{Events: watch.EventsStatus{On: true, Lost: 7}}
	expect(t, scrape(t, c), map[string]float64{"sockwarden_events_lost_total{}": 7, "sockwarden_rules_last_reload_successful{}": 0})
}
