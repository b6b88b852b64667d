package metrics

import (
	"fmt"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// metric is one metric: docs/metrics.md lists them as they are declared here.
type metric struct {
	name, help string
	kind       prometheus.ValueType // an UntypedValue is a histogram
	labels     []string
	watches    bool // only a watcher has it
	desc       *prometheus.Desc
}

func (m *metric) kindName() string {
	switch m.kind {
	case prometheus.CounterValue:
		return "counter"
	case prometheus.GaugeValue:
		return "gauge"
	default:
		return "histogram"
	}
}

// The metrics.
var (
	sockets         = gauge("sockwarden_sockets", "Sockets of the watched network namespaces, by protocol and state.", "protocol", "state")
	listenerSockets = gauge("sockwarden_listener_sockets", "TCP sockets of each listener, by state: itself and the connections that came in there.",
		"port", "process", "container", "state")
	openFDs = gauge("sockwarden_process_open_fds",
		"Open descriptors of a program that listens or has findings; of several processes, those of the one nearest to its limit.", "process", "container")
	maxFDs = gauge("sockwarden_process_max_fds", "How many descriptors that process may open (soft limit).", "process", "container")

	findings = gauge("sockwarden_findings", "Findings of the last cycle, by rule and decision.", "rule", "decision")
	applied  = counter("sockwarden_actions_total", "Effects that were applied or tried in live runs, by their result.", "rule", "action", "result")

	durations = histogram("sockwarden_cycle_duration_seconds", "Duration of cycles in seconds.")
	cycles    = counter("sockwarden_cycles_total", "Cycles: ok, incomplete (not everything could be looked at) or failed (nothing could).", "result")
	lastCycle = gauge("sockwarden_last_cycle_timestamp_seconds", "When the last cycle ended that could look at sockets, in seconds since 1970.")
	live      = gauge("sockwarden_live", "1 if it acts, 0 in a dry run.")

	ruleModes   = gauge("sockwarden_rules", "Rules in force, by mode.", "mode")
	rulesInfo   = gauge("sockwarden_rules_info", "1 for the generation of rules that is in force.", "generation")
	reloadOK    = watching(gauge("sockwarden_rules_last_reload_successful", "1 if the rules as they were last read are valid, 0 if they were rejected."))
	reloadStamp = watching(gauge("sockwarden_rules_last_reload_success_timestamp_seconds", "When valid rules were last read or came into force, in seconds since 1970."))

	tripped = gauge("sockwarden_breaker_tripped", "1 while the breaker keeps everything from being acted on.")
	trips   = counter("sockwarden_breaker_trips_total", "How often the breaker has tripped.")
	paused  = gauge("sockwarden_paused", "1 while actions are paused.")

	silenced = gauge("sockwarden_silences", "Silences in force.")

	eventsLost = watching(counter("sockwarden_events_lost_total",
		"Transitions of sockets that the kernel's events do not tell of, as there was no room or the kernel did not see them: other evidence proves these ages."))

	messages = counter("sockwarden_notifications_total", "Messages to notifiers: sent, failed (tried again later), lost, or summed up.", "notifier", "result")

	buildInfo = gauge("sockwarden_build_info", "1, labelled with what this program was built from.", "version", "goversion")
)

// all lists them in the order of the documentation.
var all = []*metric{
	sockets, listenerSockets, openFDs, maxFDs, findings, applied, durations, cycles, lastCycle, live, ruleModes, rulesInfo, reloadOK, reloadStamp,
	tripped, trips, paused, silenced, eventsLost, messages, buildInfo,
}

func gauge(name, help string, labels ...string) *metric {
	return declare(prometheus.GaugeValue, name, help, labels)
}

func counter(name, help string, labels ...string) *metric {
	return declare(prometheus.CounterValue, name, help, labels)
}

func histogram(name, help string) *metric {
	return declare(prometheus.UntypedValue, name, help, nil)
}

func declare(kind prometheus.ValueType, name, help string, labels []string) *metric {
	return &metric{name: name, help: help, kind: kind, labels: labels, desc: prometheus.NewDesc(name, help, labels, nil)}
}

func watching(m *metric) *metric {
	m.watches = true
	return m
}

// is makes one sample. The values of its labels must be valid UTF-8.
func (m *metric) is(value float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(m.desc, m.kind, value, labels...)
}

// Table lists the metrics for the documentation.
func Table() string {
	var b strings.Builder
	b.WriteString("| metric | type | meaning |\n|---|---|---|\n")
	for _, m := range all {
		name := m.name
		if len(m.labels) > 0 {
			name += "{" + strings.Join(m.labels, ",") + "}"
		}
		help := strings.TrimSuffix(m.help, ".")
		if m.watches {
			help += "; only of a watcher"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", name, m.kindName(), help)
	}
	return b.String()
}

// label makes a label value of text that others choose: Prometheus takes valid UTF-8 only.
func label(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// number is 1 for true.
func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
