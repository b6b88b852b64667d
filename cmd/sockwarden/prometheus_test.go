package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"sockwarden/collectors/socklab"
)

// needPrometheus skips a test where Debian's prometheus is not installed, unless
// SOCKWARDEN_REQUIRE_PROMETHEUS=1 is set: then it fails.
func needPrometheus(t *testing.T) {
	t.Helper()
	for _, name := range []string{"prometheus", "promtool"} {
		if _, err := exec.LookPath(name); err != nil {
			if os.Getenv("SOCKWARDEN_REQUIRE_PROMETHEUS") == "1" {
				t.Fatalf("%v; cure: apt-get install --no-install-recommends prometheus", err)
			}
			t.Skipf("%v; cure: apt-get install --no-install-recommends prometheus", err)
		}
	}
}

// exampleOf is a file that Prometheus or Grafana reads.
func exampleOf(name string) string { return filepath.Join(root, "examples/prometheus", name) }

// The shipped alerts are valid, and fire when they should and not before.
func TestAlerts(t *testing.T) {
	needPrometheus(t)
	for _, args := range [][]string{
		{"check", "rules", exampleOf("alerts.yaml")}, {"test", "rules", exampleOf("alerts_test.yaml")}, {"check", "config", "--syntax-only", exampleOf("prometheus.yaml")},
	} {
		if out, err := exec.Command("promtool", args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
	tested, err := os.ReadFile(exampleOf("alerts_test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range alertNames(t) {
		if !strings.Contains(string(tested), "alertname: "+name) {
			t.Errorf("no test of the alert %s", name)
		}
	}
}

func alertNames(t *testing.T) (names []string) {
	t.Helper()
	text, err := os.ReadFile(exampleOf("alerts.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if _, name, ok := strings.Cut(strings.TrimSpace(line), "- alert: "); ok {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		t.Fatal("no alerts")
	}
	return names
}

// dashboardQueries are all queries of the shipped dashboard, for every host.
func dashboardQueries(t *testing.T) (queries []string) {
	t.Helper()
	var board struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
		Annotations struct{ List []struct{ Expr string } }
	}
	text, err := os.ReadFile(exampleOf("dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	for _, p := range board.Panels {
		if len(p.Targets) == 0 {
			t.Errorf("panel %s asks for nothing", p.Title)
		}
		for _, target := range p.Targets {
			queries = append(queries, target.Expr)
		}
	}
	for _, a := range board.Annotations.List {
		queries = append(queries, a.Expr)
	}
	for i, q := range queries {
		queries[i] = strings.NewReplacer("$instance", ".*", "$__rate_interval", "1m").Replace(q)
	}
	return queries
}

// A real Prometheus scrapes a watcher that cures one leak and observes another one: the
// names are as promtool wants them, every query of the dashboard has an answer, and every
// alert can be evaluated.
func TestPrometheus(t *testing.T) {
	needPrometheus(t)
	if apart(t) {
		return
	}
	hook := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(hook, []byte("http://127.0.0.1:9/\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServedBy(t, strings.Replace(leakingRules, "URL", hook, 1), "--listen", "127.0.0.1:9842")
	life{Comm: "cured", Serve: []string{at(21118)}, Leaks: spared(2, at(21118))}.start(t, s.ns)
	life{Comm: "seen", Serve: []string{at(21119)}, Leaks: spared(2, at(21119))}.start(t, s.ns)
	check := exec.Command("promtool", "check", "metrics")
	_, text := s.get("/metrics")
	check.Stdin = strings.NewReader(text)
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	s.startPrometheus()
	for _, q := range dashboardQueries(t) {
		if strings.HasPrefix(q, "changes(") { // the rules do not change here: no answer is one
			s.query(q)
			continue
		}
		s.await(t, "an answer to "+q, func() bool { return s.query(q) > 0 })
	}
	for _, q := range []string{
		`sockwarden_listener_sockets{port="21119",process="seen",state="CLOSE_WAIT"} == 2`, `increase(sockwarden_actions_total{rule="leak",action="destroy"}[1m]) > 0`,
		`sockwarden_findings{rule="other",decision="observe"} == 2`, `sockwarden_build_info{instance="127.0.0.1:9842",job="sockwarden"}`,
	} {
		s.await(t, q, func() bool { return s.query(q) == 1 || strings.HasPrefix(q, "increase") && s.query(q) > 0 })
	}
	for _, name := range alertNames(t) {
		s.await(t, "the alert "+name, func() bool { return s.healthOf(name) == "ok" })
	}
}

// startPrometheus starts one beside the watcher, with the shipped configuration.
func (s *served) startPrometheus() {
	s.t.Helper()
	interval, began := time.Second, time.Now()
	if r, err := s.client("http").Get("http://127.0.0.1:9842/metrics"); err == nil {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
		interval = max(interval, (10 * time.Since(began)).Round(time.Second)) // an answer must come before the next scrape
	}
	dir := s.t.TempDir()
	config, err := os.ReadFile(exampleOf("prometheus.yaml"))
	if err != nil {
		s.t.Fatal(err)
	}
	alerts, err := filepath.Abs(exampleOf("alerts.yaml"))
	if err != nil {
		s.t.Fatal(err)
	}
	text := fmt.Sprintf("global: {scrape_interval: %ds, evaluation_interval: 1s}\n", int(interval.Seconds())) + strings.Replace(string(config), "[alerts.yaml]", "["+alerts+"]", 1)
	path := filepath.Join(dir, "prometheus.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		s.t.Fatal(err)
	}
	cmd := exec.Command("prometheus", "--config.file="+path, "--storage.tsdb.path="+dir, "--web.listen-address="+prometheusAt, "--log.level=warn")
	cmd.Stdout, cmd.Stderr = log, log
	if err := s.ns.Do(cmd.Start); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
		if text, err := os.ReadFile(log.Name()); err == nil && s.t.Failed() {
			s.t.Logf("prometheus: %s", text)
		}
	})
	socklab.WaitFor(s.t, "prometheus", func() bool {
		r, err := s.client("http").Get("http://" + prometheusAt + "/-/ready")
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
}

const prometheusAt = "127.0.0.1:9090"

// askPrometheus reads an answer of its API.
func (s *served) askPrometheus(path string, answer any) {
	s.t.Helper()
	r, err := s.client("http").Get("http://" + prometheusAt + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		s.t.Fatalf("%s: %s %v %s", path, r.Status, err, text)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		s.t.Fatalf("%s: %v: %s", path, err, text)
	}
}

// query returns how many series answer a query; a wrong query fails the test.
func (s *served) query(q string) int {
	s.t.Helper()
	var answer struct {
		Data struct{ Result []json.RawMessage }
	}
	s.askPrometheus(fmt.Sprintf("/api/v1/query?query=%s&time=%d", url.QueryEscape(q), time.Now().Unix()), &answer)
	return len(answer.Data.Result)
}

// healthOf says how Prometheus gets on with an alert.
func (s *served) healthOf(alert string) string {
	s.t.Helper()
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health string }
			}
		}
	}
	s.askPrometheus("/api/v1/rules", &answer)
	for _, g := range answer.Data.Groups {
		for _, r := range g.Rules {
			if r.Name == alert {
				return r.Health
			}
		}
	}
	return "missing"
}
