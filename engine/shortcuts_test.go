package engine

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"testing"

	"sockwarden/collectors/socklab"
	"sockwarden/engine/report"
	"sockwarden/engine/world"
)

// changing are the fields of a socket that can differ between two looks.
var changing = []string{
	"age", "age_max", "age_source", "idle", "idle_recv", "idle_send", "ack_idle", "timer", "timer_expires", "process_age",
	"retransmits", "backoff", "rto", "unacked", "lost", "bytes_sent", "fds",
}

// shown lists what a report says about each socket, except for what changes by itself.
func shown(t testing.TB, r *report.Report) []string {
	t.Helper()
	var all []string
	for _, f := range document(t, r).Findings {
		if s, ok := f["socket"].(map[string]any); ok {
			for _, name := range changing {
				delete(s, name)
			}
		}
		text, err := json.Marshal(f)
		must(t, "marshal", err)
		all = append(all, string(text))
	}
	slices.SortFunc(all, cmp.Compare[string])
	return all
}

// However the engine looks, with the kernel's filter or at everything, in one pass or
// two, by BPF or /proc, the findings are the same, with all their fields.
func TestShortcuts(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	for _, k := range socklab.Kinds() {
		for _, f := range socklab.Families() {
			c := socklab.Make(t, k, f)
			if k == socklab.CloseWait || k == socklab.Established {
				holder(t, c)
			}
		}
	}
	shared := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{shared}, Keep: true})
	holder(t, shared)
	text := "version: 1\nrules:\n"
	for i, when := range []string{
		`state == "CLOSE_WAIT"`,
		fmt.Sprintf(`port in [%d..%d, 1, 7..9] && remote_port > 1024`, shared.Local.Port()-200, shared.Local.Port()),
		fmt.Sprintf(`remote_addr == "%s" && state != "LISTEN"`, shared.Remote.Addr()),
		`family == "ipv6" && state in ["ESTABLISHED", "FIN_WAIT2"]`,
		`family == "ipv4" && protocol == "udp"`,
		fmt.Sprintf(`process == %q`, program()),
		`state == "LISTEN" || !(remote_port < 65535)`,
		`owners > 1 && unit == ""`,
	} {
		text += fmt.Sprintf("  - {name: r%d, when: '%s', mode: observe, then: [destroy]}\n", i, when)
	}
	text += "  - {name: last, when: 'state == \"ESTABLISHED\" || state == \"CLOSE_WAIT\"', then: [destroy]}\n"
	look := func(o Options, split bool) []string {
		if split {
			o.World = hostWorld(t, o.Owners, 4)
		}
		l := newLab(t, o)
		if split {
			l.looker.Dumps.SplitFrom = 0
		}
		r := l.cycle(t, l.rules(t, text))
		noErrors(t, r)
		return shown(t, r)
	}
	plain := Options{NoPushdown: true, Owners: world.OwnersProc}
	want := look(plain, false)
	if len(want) < 40 {
		t.Fatalf("%d findings: nothing is tested", len(want))
	}
	for name, o := range map[string]Options{
		"pushdown": {Owners: world.OwnersProc},
		"bpf":      {NoPushdown: true, Owners: world.OwnersBPF},
		"both":     {Owners: world.OwnersBPF},
	} {
		for _, split := range []bool{false, true} {
			got := look(o, split)
			again := look(plain, false)
			if slices.Equal(got, want) || slices.Equal(got, again) {
				continue
			}
			only := map[string]int{}
			for _, f := range got {
				only[f]++
			}
			for _, f := range want {
				only[f]--
			}
			maps.DeleteFunc(only, func(_ string, n int) bool { return n == 0 })
			for f, n := range only {
				t.Errorf("%s, split %t: %+d %s", name, split, n, f)
			}
		}
	}
}
