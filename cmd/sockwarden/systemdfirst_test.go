package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"

	"sockwarden/collectors/socklab"
	"sockwarden/collectors/socklab/systemdlab"
)

// firstRules tell of the leak of one unit, and cure that of another.
const firstRules = `version: 1
actions: {ops: {plugin: webhook, url_file: /etc/sockwarden/url}}
rules:
  - name: leak
    when: unit == "leaky.service" && state == "CLOSE_WAIT"
    mode: observe
    notify: [ops]
  - name: other
    when: unit == "forgetful.service" && state == "CLOSE_WAIT"
    then: [destroy]
    notify: [ops]
`

// inbox is a receiver of messages.
type inbox struct {
	mu       sync.Mutex
	messages []string // rule and event of each
}

// ServeHTTP takes a message.
func (b *inbox) ServeHTTP(_ http.ResponseWriter, r *http.Request) {
	var m struct{ Rule, Event string }
	text, err := io.ReadAll(r.Body)
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if err != nil {
		m.Rule = fmt.Sprintf("%v in %s", err, text)
	}
	b.messages = append(b.messages, m.Rule+" "+m.Event)
}

// all are the messages that have come.
func (b *inbox) all() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.messages, ", ")
}

// openInbox starts a receiver in the network of the test, and returns its address.
func openInbox(t *testing.T) (b *inbox, url string) {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b = &inbox{}
	server := &http.Server{Handler: b}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return b, "http://" + listener.Addr().String() + "/"
}

// TestSystemdFirstDay is what a new user does with the shipped unit: start it, see it in
// Prometheus, get one message for one leak and one when it is over, silence that rule for an
// hour while the other one goes on, and install rules that are wrong.
func TestSystemdFirstDay(t *testing.T) {
	needPrometheus(t)
	if apart(t) {
		return
	}
	l := newSystemd(t)
	messages, url := openInbox(t)
	l.journald()
	l.ship()
	l.install(firstRules)
	if code, _, errs := l.Run("install", "-m", "600", l.Write("url", url), "/etc/sockwarden/url"); code != 0 {
		t.Fatal(errs)
	}
	l.Unit(watcher+".d/zz-test.conf", "[Service]\nExecStart=\nExecStart="+systemdlab.Program+" watch --live --interval 1s --listen 127.0.0.1:9842\n")
	l.Systemctl("start", watcher)
	await := func(want string) {
		t.Helper()
		defer func() {
			if t.Failed() {
				t.Logf("messages: %s", messages.all())
			}
		}()
		l.Until("the message "+want, func() bool { return strings.HasSuffix(messages.all(), want) })
	}

	l.start("leaky.service", 9031, 1)
	prometheus := &served{t: t, ns: socklab.Home(t)}
	prometheus.startPrometheus()
	seen := func(query string) {
		t.Helper()
		l.Until("Prometheus answers "+query, func() bool { return prometheus.query(query) == 1 })
	}
	seen(`sockwarden_findings{rule="leak",decision="observe"} == 1`)
	await("leak found")
	l.inJournal()
	l.Systemctl("stop", "leaky.service")
	await("leak found, leak over")

	l.says(`^silence 1: rule leak, `, "silence", "add", "--for", "1h", "--rule", "leak")
	l.start("leaky.service", 9031, 1)
	l.Until("the leak is silenced", func() bool { in := l.asked().Silences; return len(in) == 1 && in[0].Spares == 1 })
	l.write("forgetful.service", 9032, 1)
	l.Systemctl("start", "forgetful.service")
	await("leak found, leak over, other found")
	l.Until("what it leaks is destroyed", func() bool { return l.leaks("forgetful.service") == 0 })
	l.rejects()
	seen(`sockwarden_rules_last_reload_successful == 0`)
}

// rejects installs rules that are wrong: the reload fails, status and journal say why, and
// the watcher goes on with the rules before, as an effect of theirs shows.
func (l *lab) rejects() {
	l.t.Helper()
	before := l.asked()
	l.install(strings.Replace(firstRules, "CLOSE_WAIT", "CLOSEWAIT", 1))
	if code, _, errs := l.Run("systemctl", "reload", watcher); code == 0 {
		l.t.Errorf("the reload of rules that are wrong succeeds: %s", errs)
	}
	const why = `rules\.yaml:5:\d+: unknown state "CLOSEWAIT" \(did you mean "CLOSE_WAIT"\?\)`
	if code, out, errs := l.Run(systemdlab.Program, "status"); code != exitFailed || !regexp.MustCompile(`^LIVE, not well: reload of .*\n +.*`+why).MatchString(out) {
		l.t.Errorf("status exits %d: %s%s", code, out, errs)
	}
	l.status(`^rules rejected, still on .*CLOSEWAIT`)
	said := l.journalLines("-u", watcher, "-p", "err")
	if len(said) == 0 || !regexp.MustCompile(why).MatchString(fmt.Sprint(said[len(said)-1]["SOCKWARDEN_ERROR"])) {
		l.t.Errorf("the journal says %v", said)
	}
	now := l.asked()
	if state := l.Property(watcher, "ActiveState"); state != "active" || now.PID != before.PID || now.Rules.Generation != before.Rules.Generation || len(now.Silences) != 1 {
		l.t.Errorf("it is %s: %+v, before %+v", state, now, before)
	}
	l.Systemctl("restart", "forgetful.service")
	l.Until("the other rule goes on", func() bool { return l.results("other") > 1 && l.leaks("forgetful.service") == 0 })
}
