package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"sockwarden/cmd/sockwarden/metrics"
	"sockwarden/collectors/socklab"
)

// leakingRules send a message about each leak, to nobody.
const leakingRules = "version: 1\nactions: {ops: {plugin: webhook, url_file: URL}}\n" +
	"rules:\n  - name: leak\n    when: state == \"CLOSE_WAIT\" and port == 21118\n    then: [destroy]\n    notify: [ops]\n" +
	"  - name: other\n    when: state == \"CLOSE_WAIT\" and port == 21119\n    mode: observe\n    then: [destroy]\n"

// client asks from the namespace of a watcher.
func (s *served) client(scheme string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: scheme == "https"},
		DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			dialErr := s.ns.Do(func() error {
				c, err = new(net.Dialer).DialContext(ctx, network, addr)
				return err
			})
			return c, dialErr
		},
	}}
}

// metricsAt returns where the watcher serves metrics.
func (s *served) metricsAt() string {
	s.t.Helper()
	for _, line := range s.log(0) {
		var l struct{ Msg, Listen string }
		if json.Unmarshal([]byte(line), &l) == nil && l.Msg == "serving metrics" {
			return l.Listen
		}
	}
	s.t.Fatal("the log does not say where the metrics are")
	return ""
}

// get fetches a page of the watcher.
func (s *served) get(path string) (code int, body string) {
	s.t.Helper()
	r, err := s.client("http").Get("http://" + s.metricsAt() + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return r.StatusCode, string(text)
}

// scrape returns the metrics of the watcher.
func (s *served) scrape() map[string]*dto.MetricFamily {
	s.t.Helper()
	code, text := s.get("/metrics")
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil || code != http.StatusOK {
		s.t.Fatalf("%d %v: %s", code, err, text)
	}
	return families
}

// value sums the samples of a metric that have all of these labels, written name=value.
func value(families map[string]*dto.MetricFamily, name string, labels ...string) (sum float64) {
	for _, m := range families[name].GetMetric() {
		var have []string
		for _, l := range m.GetLabel() {
			have = append(have, l.GetName()+"="+l.GetValue())
		}
		if !slices.ContainsFunc(labels, func(l string) bool { return !slices.Contains(have, l) }) {
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// A scrape sees the leak of a program that no rule cures, what was done to another one,
// the message that did not arrive, a pause, and rules that were rejected; then the watcher
// is not ready, and says why.
func TestMetrics(t *testing.T) {
	if apart(t) {
		return
	}
	url := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(url, []byte("http://127.0.0.1:9/\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	leaking := strings.Replace(leakingRules, "URL", url, 1)
	s := startServedBy(t, leaking, "--listen", "127.0.0.1:0", "--interval", "200ms")
	life{Comm: "leaky", Serve: []string{at(21117)}, Leaks: spared(3, at(21117))}.start(t, s.ns)
	life{Comm: "cured", Serve: []string{at(21118)}, Leaks: spared(2, at(21118))}.start(t, s.ns)
	var got map[string]*dto.MetricFamily
	within := func(what string, ok func() bool) {
		t.Helper()
		s.await(t, what, func() bool { got = s.scrape(); return ok() })
	}
	within("the leak", func() bool {
		return value(got, "sockwarden_listener_sockets", "port=21117", "process=leaky", "container=", "state=CLOSE_WAIT") == 3
	})
	if n := value(got, "sockwarden_sockets", "protocol=tcp", "state=CLOSE_WAIT"); n < 3 {
		t.Errorf("%v sockets in CLOSE_WAIT", n)
	}
	if open, limit := value(got, "sockwarden_process_open_fds", "process=leaky"), value(got, "sockwarden_process_max_fds", "process=leaky"); open < 4 || limit < open {
		t.Errorf("leaky has %v of %v descriptors", open, limit)
	}
	within("what was done", func() bool { return value(got, "sockwarden_actions_total", "rule=leak", "action=destroy") >= 2 })
	within("the message", func() bool { return value(got, "sockwarden_notifications_total", "notifier=ops", "result=failed") > 0 })
	for name, want := range map[string]float64{
		"sockwarden_live": 1, "sockwarden_paused": 0, "sockwarden_silences": 0, "sockwarden_breaker_tripped": 0, "sockwarden_rules_last_reload_successful": 1, "sockwarden_build_info": 1,
	} {
		if n := value(got, name); n != want {
			t.Errorf("%s is %v", name, n)
		}
	}
	if n := time.Since(time.Unix(int64(value(got, "sockwarden_last_cycle_timestamp_seconds")), 0)); n < 0 || n > patience {
		t.Errorf("the last cycle was %v ago", n)
	}
	for _, page := range []string{"/healthz", "/readyz", "/"} {
		if code, body := s.get(page); code != http.StatusOK {
			t.Errorf("%s: %d %s", page, code, body)
		}
	}
	s.everyMetric()
	was := value(got, "sockwarden_rules_last_reload_success_timestamp_seconds")
	s.write(strings.ReplaceAll(leaking, "CLOSE_WAIT", "CLOSEWAIT"))
	within("a rejected reload", func() bool { return value(got, "sockwarden_rules_last_reload_successful") == 0 })
	if n := value(got, "sockwarden_rules_last_reload_success_timestamp_seconds"); n != was {
		t.Errorf("rules were rejected, and their time is %v, not %v", n, was)
	}
	if code, body := s.get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "rejected") {
		t.Errorf("%d %s", code, body)
	}
	if code, body := s.get("/healthz"); code != http.StatusOK {
		t.Errorf("%d %s", code, body)
	}
	s.write(leaking)
	within("rules that are good again", func() bool { return value(got, "sockwarden_rules_last_reload_successful") == 1 })
	if code, body := s.get("/metrics/none"); code != http.StatusNotFound {
		t.Errorf("%d %s", code, body)
	}
}

// everyMetric checks that a scrape has the metrics of the documentation, and no others of
// ours.
func (s *served) everyMetric() {
	s.t.Helper()
	got := s.scrape()
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)").FindAllStringSubmatch(metrics.Table(), -1) {
		if got[m[1]] == nil {
			s.t.Errorf("no metric %s", m[1])
		}
		delete(got, m[1])
	}
	for name := range got {
		if strings.HasPrefix(name, "sockwarden_") {
			s.t.Errorf("%s has no documentation", name)
		}
	}
}

// bcrypt of "secret".
const hashed = "$2a$04$4jek05H.LaDoYZr6Eaciz.c7qoN2uuIIj.ytiC4qh1RAG7fhOZrbi"

// With a web configuration only TLS and a password lead to metrics.
func TestMetricsWithPassword(t *testing.T) {
	if apart(t) {
		return
	}
	dir := t.TempDir()
	certificate(t, dir)
	config := filepath.Join(dir, "web.yaml")
	text := "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\nbasic_auth_users: {prom: '" + hashed + "'}\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startServed(t, "--listen", "127.0.0.1:0", "--web-config", config)
	for _, c := range []struct {
		scheme, password string
		code             int
	}{{"http", "secret", 400}, {"https", "", 401}, {"https", "wrong", 401}, {"https", "secret", 200}} {
		for _, page := range []string{"/metrics", "/readyz"} {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.scheme+"://"+s.metricsAt()+page, nil)
			if err != nil {
				t.Fatal(err)
			}
			if c.password != "" {
				request.SetBasicAuth("prom", c.password)
			}
			r, err := s.client(c.scheme).Do(request)
			if err != nil {
				t.Fatal(err)
			}
			if _ = r.Body.Close(); r.StatusCode != c.code {
				t.Errorf("%s%s by %s: %s", c.scheme, page, c.password, r.Status)
			}
		}
	}
}

// certificate writes cert.pem and key.pem.
func certificate(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "EC PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// What cannot work is said at the start, which then fails.
func TestMetricsCannotBegin(t *testing.T) {
	if apart(t) {
		return
	}
	s := startServed(t, "--listen", "127.0.0.1:0")
	bad := filepath.Join(t.TempDir(), "web.yaml")
	if err := os.WriteFile(bad, []byte("tls_server: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"--listen", s.metricsAt()}, "address already in use\nhint: another program has this port: ss -ltnp"},
		{[]string{"--listen", "203.0.113.7:9842"}, "cannot assign requested address"},
		{[]string{"--listen", "127.0.0.1:0", "--web-config", bad}, "error: --web-config " + bad + ": yaml: unmarshal errors:\n  line 1: field tls_server not found"},
		{[]string{"--listen", "127.0.0.1:0", "--web-config", bad + ".none"}, "--web-config " + bad + ".none: open " + bad + ".none: no such file"},
	} {
		code, out, errs := s.ask(append([]string{"watch", "--rules", s.rules, "--state-file", "none"}, c.args...)...)
		if code != exitFailed || !strings.Contains(errs, c.want) {
			t.Errorf("%v: exits %d, not with %q:\n%s%s", c.args, code, c.want, out, errs)
		}
	}
	if code, body := s.get("/readyz"); code != http.StatusOK {
		t.Errorf("the first watcher: %d %s", code, body)
	}
}

// docs/metrics.md lists the metrics as they are declared.
func TestMetricsTable(t *testing.T) {
	path := filepath.Join(root, "docs/metrics.md")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	table := regexp.MustCompile(`(?s)(\n## The metrics\n\n)(\|.*?\n)(\n)`)
	m := table.FindSubmatchIndex(text)
	if m == nil {
		t.Fatal("docs/metrics.md has no table of metrics")
	}
	want := metrics.Table()
	switch got := string(text[m[4]:m[5]]); {
	case got == want:
	case update:
		if err := os.WriteFile(path, fmt.Appendf(nil, "%s%s%s", text[:m[4]], want, text[m[5]:]), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("the table of metrics is\n%s\nnot\n%s", got, want)
	}
}

// A run leaves a file of metrics that promtool takes, and the next one goes on with its
// counters; a run that fails says so there, too.
func TestMetricsFile(t *testing.T) {
	if apart(t) {
		return
	}
	needPrometheus(t)
	s := startServed(t, "--listen", "127.0.0.1:0")
	path := filepath.Join(t.TempDir(), "sockwarden.prom")
	for range 2 {
		s.expectRun(0, "run", "--rules", s.rules, "--state-file", "none", "--metrics-file", path)
	}
	s.expectRun(exitFailed, "run", "--rules", s.rules, "--netns", "no-such-namespace", "--state-file", "none", "--metrics-file", path)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`sockwarden_cycles_total{result="ok"} 2`, `sockwarden_cycles_total{result="failed"} 1`, `sockwarden_cycle_duration_seconds_count 3`, "sockwarden_live 0",
	} {
		if !strings.Contains(string(text), "\n"+line+"\n") {
			t.Errorf("no line %s in\n%s", line, text)
		}
	}
	check := exec.Command("promtool", "check", "metrics")
	check.Stdin = strings.NewReader(string(text))
	if out, err := check.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
	if strings.Contains(string(text), "go_goroutines") {
		t.Error("metrics of Go that node_exporter has, too")
	}
}

// The file says how many silences the run has obeyed.
func TestMetricsFileCountsSilences(t *testing.T) {
	socklab.Need(t)
	dir := t.TempDir()
	s := &served{t: t, ns: socklab.NewNamespace(t, "quiet"), rules: filepath.Join(dir, "r.yaml"), state: filepath.Join(dir, "s", "state.json")}
	s.write(servedRules)
	path := filepath.Join(dir, "sockwarden.prom")
	counted := func(want string) {
		t.Helper()
		s.expectRun(0, "run", "--rules", s.rules, "--state-file", s.state, "--metrics-file", path)
		if text, err := os.ReadFile(path); err != nil || !strings.Contains(string(text), "\nsockwarden_silences "+want+"\n") {
			t.Errorf("%v, not %s silences in\n%s", err, want, text)
		}
	}
	counted("0")
	alone := []string{"--control", "none", "--state-file", s.state}
	for _, rule := range []string{"leak", "other"} {
		s.expectRun(0, append([]string{"silence", "add", "--for", "1h", "--rules", s.rules, "--rule", rule}, alone...)...)
	}
	counted("2")
	s.expectRun(0, append([]string{"silence", "remove", "1", "2"}, alone...)...)
	counted("0")
}

// expectRun runs a command beside the watcher, whose exit code is known.
func (s *served) expectRun(want int, args ...string) {
	s.t.Helper()
	cmd := itself(s.t, args...)
	var text strings.Builder
	cmd.Stdout, cmd.Stderr = &text, &text
	if err := s.ns.Do(cmd.Start); err != nil {
		s.t.Fatal(err)
	}
	if _ = cmd.Wait(); cmd.ProcessState.ExitCode() != want {
		s.t.Errorf("%v: exits %d, not %d:\n%s", args, cmd.ProcessState.ExitCode(), want, text.String())
	}
}
