package doctor

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/actions"
	"sockwarden/actions/log"
)

// shown are capabilities with their level when missing, and their purpose.
func shown(uses []use) (lines []string) {
	for _, u := range uses {
		lines = append(lines, fmt.Sprintf("%s %s: %s", u.Name, u.level, &u))
	}
	return lines
}

// newcomer is an action that the doctor does not know.
func newcomer() actions.Plugin {
	return actions.Plugin{
		Name: "tickle", Scope: actions.ScopeSocket,
		Needs: []actions.Need{
			{Capability: actions.Capability{Name: "CAP_BPF", Number: unix.CAP_BPF}},
			{Capability: actions.CapKill, For: "for some"},
			{Feature: actions.Feature{Name: "tickle_socket", Major: 6, Minor: 90}},
		},
		New: func(map[string]any) (actions.Action, error) { return nil, nil }, //nolint:nilnil // it is never made
	}
}

// What is missing, and how serious that is, follows from the needs that the actions
// declare, and from which of them the rules use.
func TestUses(t *testing.T) {
	const looks, destroys = ": owners of sockets; abort, shutdown, repair, signal, restart", "CAP_NET_ADMIN fail: destroying sockets"
	files := "CAP_DAC_READ_SEARCH fail: descriptors of other users' processes; abort, shutdown, repair, signal, restart"
	kill, admin := "CAP_KILL warn: signalling other users' processes", "CAP_SYS_ADMIN warn: other network namespaces, containers"
	others := []string{"CAP_SYS_PTRACE fail" + looks, files, kill, admin}
	logs := program(t, "  - {name: r, when: port == 1, then: [log]}\n  - {name: s, mode: observe, when: port == 1, then: [destroy]}\n")
	acts := program(t, "  - {name: r, when: port == 1, then: [log, destroy]}\n")
	known := append([]string{destroys}, others...)
	for name, test := range map[string]struct {
		plan *Plan
		want []string
	}{
		"no rules":           {&Plan{Actions: all(t)}, known},
		"rules that destroy": {&Plan{Actions: all(t), Program: acts}, known},
		"rules that log":     {&Plan{Actions: all(t), Program: logs}, append([]string{"CAP_NET_ADMIN warn: destroying sockets"}, others...)},
		"another action": {&Plan{Actions: registry(t, newcomer())}, []string{
			"CAP_BPF fail: tickle", "CAP_KILL warn: tickle", "CAP_SYS_PTRACE fail: owners of sockets",
			"CAP_DAC_READ_SEARCH fail: descriptors of other users' processes", admin,
		}},
	} {
		if got := shown(uses(test.plan)); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

// An unknown action is looked after like the others.
func TestNewcomer(t *testing.T) {
	some := registry(t, newcomer(), log.Plugin(slog.New(slog.DiscardHandler)))
	p := programOf(t, some, "  - {name: r, when: port == 1, then: [log, tickle]}\n  - {name: datagrams, when: protocol == 'udp' and port == 1, then: [tickle]}\n")
	checks := byName(t, ruleChecks(t.Context(), &Plan{Program: p, Actions: some}, []Check{{Name: "CAP_BPF", Level: Fail, Detail: "missing"}}))
	for name, want := range map[string]string{
		"rule r":         "tickle would not work (CAP_BPF, Linux 6.90)",
		"rule datagrams": "tickle would not work (CAP_BPF, Linux 6.90); it can never act: it is about UDP, which tickle is not for",
	} {
		if checks[name].Detail != want {
			t.Errorf("%+v, want %q", checks[name], want)
		}
	}
	c := kernelVersion(some)
	if want := "no tickle_socket (6.90), so no tickle"; c.Level != Warn || c.Detail[len(c.Detail)-len(want):] != want {
		t.Errorf("%+v", c)
	}
}
