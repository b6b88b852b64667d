package scripted_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/scripted"
)

// groupRule is a file with a rule about many sockets.
func groupRule(when, group, having, then string, more ...string) string {
	return rule(when, then, append([]string{"group: " + group, "having: '" + having + "'"}, more...)...)
}

// groupsOf are the groups of the findings, as JSON shows them, one for each.
func (s *stage) groupsOf(r *engine.Report) (all []map[string]any) {
	s.t.Helper()
	seen := map[string]bool{}
	for _, f := range s.document(r).Findings {
		g, ok := f["group"].(map[string]any)
		if !ok {
			s.t.Errorf("a finding without its group: %v", f)
			continue
		}
		if key := fmt.Sprint(g["key"]); !seen[key] {
			seen[key] = true
			all = append(all, g)
		}
	}
	return all
}

// More than N on this host: the rule acts on each socket, oldest first, up to the limit.
func TestGroupOfHost(t *testing.T) {
	s := newStage(t, live)
	for age := range 6 {
		s.sockets(1, collectors.FinWait2, time.Hour+time.Duration(age)*time.Minute, 7+age%2)
	}
	text := groupRule(`state == "FIN_WAIT2"`, "host", "count > LEAST", "destroy", "limits: {per_cycle: 4}")
	if r := s.run(s.file(strings.Replace(text, "LEAST", "6", 1))); len(r.Findings) != 0 {
		t.Errorf("6 are not more than 6:\n%s", describe(r))
	}
	r := s.run(s.file(strings.Replace(text, "LEAST", "5", 1)))
	s.expectTally(r, map[engine.Decision]int{engine.DecideAct: 4, engine.DecideLimited: 2})
	oldestFirst(t, r)
	if groups := s.groupsOf(r); len(groups) != 1 || fmt.Sprint(groups[0]["key"]) != "map[host:scripted]" || groups[0]["count"] != float64(6) {
		t.Errorf("groups %v", groups)
	}
	if len(s.Done) != 4 {
		t.Errorf("%d are gone", len(s.Done))
	}
}

// A port without a listener is one finding without a socket, until something listens.
func TestNothingListens(t *testing.T) {
	const when, having = `state == "LISTEN" && port == 1001`, "count == 0"
	for then, want := range map[string]struct {
		decision engine.Decision
		reason   string
		results  []actions.Result
	}{
		"log":                            {engine.DecideAct, "", []actions.Result{actions.Done}},
		"destroy":                        {engine.DecideGuarded, "there is no socket that destroy could be for", nil},
		"{destroy: {listen: true}}":      {engine.DecideGuarded, "there is no socket that destroy could be for", nil},
		"{signal: KILL}":                 {engine.DecideGuarded, "there is no socket that signal could be for", nil},
		"log, {signal: KILL}":            {engine.DecideGuarded, "there is no socket that signal could be for", nil},
		"ring":                           {engine.DecideAct, "", []actions.Result{actions.Done}},
		`{ring: {udp: true}, if: owned}`: {engine.DecideUnless, "if of r", nil},
		`ring, {destroy: {listen: true, udp: true}, if: result == "done"}`: {engine.DecideAct, "", []actions.Result{actions.Done}},
	} {
		t.Run(then, func(t *testing.T) {
			rings := ringer()
			s := newStage(t, live, rings)
			r := s.run(s.file(groupRule(when, "host", having, then)))
			s.noErrors(r)
			if len(r.Findings) != 1 {
				t.Fatalf("%d findings\n%s", len(r.Findings), describe(r))
			}
			s.expectFinding(r.Findings[0], want.decision, want.reason, want.results...)
			doc := s.document(r).Findings[0]
			if sock, ok := doc["socket"].(map[string]any); !ok || len(sock) != 0 {
				t.Errorf("socket %v", doc["socket"])
			}
			if g := doc["group"].(map[string]any); g["count"] != float64(0) || fmt.Sprint(g["key"]) != "map[host:scripted]" {
				t.Errorf("group %v", g)
			}
			if rang := strings.HasPrefix(then, "ring") && want.decision == engine.DecideAct; rang != (len(rings.Applied) == 1) || rang && len(rings.Applied[0].Sockets) != 0 {
				t.Errorf("applied to %+v", rings.Applied)
			}
		})
	}
	s := newStage(t, live, ringer())
	text := groupRule(when, "host", having, "ring")
	s.expectFinding(s.run(s.file(text)).Findings[0], engine.DecideAct, "", actions.Done)
	s.expectFinding(s.run(s.file(text)).Findings[0], engine.DecideCooldown, "cool-down 5m")
	// Other rules that find no listener have a cool-down of their own.
	other := s.file(strings.Replace(text, "name: r", "name: other", 1))
	s.expectFinding(s.run(other).Findings[0], engine.DecideAct, "", actions.Done)
	s.listener(1001, 1)
	if r := s.run(s.file(text)); len(r.Findings) != 0 {
		t.Errorf("it listens again:\n%s", describe(r))
	}
}

// ringer is an action that also works without a socket.
func ringer() *scripted.Script {
	rings := scripted.Coming("ring", scripted.Outcome{Result: actions.Done})
	rings.WithoutSocket = true
	return rings
}

// What restrains a rule also restrains it where there is no socket.
func TestNothingListensIsRestrained(t *testing.T) {
	for more, want := range map[string]engine.Decision{
		"for: 1h": engine.DecidePending, "soak: 1h": engine.DecideSoak, `during: ["14:00-16:00"]`: engine.DecideWindow,
		"mode: observe": engine.DecideObserve, "canary: 1%": engine.DecideAct,
		"limits: {share: 1%}": engine.DecideAct, // not a connection of a listener
	} {
		t.Run(more, func(t *testing.T) {
			rings := ringer()
			s := newStage(t, live, rings)
			r := s.run(s.file("defaults: {breaker: {count: 1, share: 1%}}\n" + groupRule("port == 1", "host", "count == 0", "ring", more)))
			s.noErrors(r)
			if len(r.Findings) != 1 || r.Findings[0].Decision != want || len(rings.Applied) != map[bool]int{true: 1}[want == engine.DecideAct] {
				t.Errorf("applied %d times:\n%s", len(rings.Applied), describe(r))
			}
		})
	}
	// Nor does it work for rules that ask about more than the host.
	s := newStage(t, engine.Options{})
	for _, group := range []string{"pid", "port", "netns", "[host, port]", "process"} {
		if r := s.run(s.file(groupRule("port == 1", group, "count == 0", "log"))); len(r.Findings) != 0 {
			t.Errorf("%s:\n%s", group, describe(r))
		}
	}
}

// An incomplete picture decides about no group.
func TestIncompleteDecidesNoGroup(t *testing.T) {
	s := newStage(t, engine.Options{})
	s.leak(3, time.Hour)
	broken := false
	s.Fails = func(_ string, q collectors.Query) error {
		if broken && slices.Contains(q.Protocols, collectors.UDP) {
			return errOutOfBuffers
		}
		return nil
	}
	p := s.file("rules:\n" + `
  - {name: many, when: 'state == "CLOSE_WAIT"', group: pid, having: count > 2, then: [log]}
  - {name: none, when: port == 1, group: host, having: count == 0, then: [log]}
  - {name: plain, when: 'state == "CLOSE_WAIT" && protocol in ["tcp", "udp"]', mode: observe}
`)
	for _, broken = range []bool{false, true, false} {
		names := map[string]int{}
		for _, f := range s.run(p).Findings {
			names[f.Rule.Name]++
		}
		want := map[string]int{"many": 3, "none": 1, "plain": 3}
		if broken {
			want = map[string]int{"plain": 3}
		}
		if fmt.Sprint(names) != fmt.Sprint(want) {
			t.Errorf("broken %t: %v, want %v", broken, names, want)
		}
	}
}

// for on a group: having must have held for that long without a break.
func TestGroupFor(t *testing.T) {
	s := newStage(t, engine.Options{})
	kept := engine.Options{StateFile: s.state()}
	s.restart(kept)
	s.leak(2, time.Hour)
	third := s.leak(1, time.Hour)
	text := groupRule(closeWait, "host", "count > 2", "log", "for: 30s")
	decided := func(want engine.Decision) {
		t.Helper()
		got := engine.Decision("")
		if r := s.run(s.file(text)); len(r.Findings) > 0 {
			got = r.Findings[0].Decision
		}
		if got != want {
			t.Errorf("%q, not %q", got, want)
		}
		s.Advance(time.Second)
	}
	decided(engine.DecidePending)
	s.restart(kept) // the time goes on in the next engine
	s.Advance(28 * time.Second)
	decided(engine.DecidePending)
	decided(engine.DecideAct)
	// Members may come and go; below the number the time starts over.
	more := s.leak(1, time.Hour)
	decided(engine.DecideAct)
	s.close(third...)
	decided(engine.DecideAct)
	s.close(more...)
	decided("")
	s.leak(1, time.Hour)
	decided(engine.DecidePending)
}

// The same port in two namespaces makes two groups.
func TestGroupPerNamespace(t *testing.T) {
	s := newStage(t, engine.Options{})
	peer := s.Namespace("peer")
	s.at(1001, 1, collectors.CloseWait, 7)
	s.Add(collectors.Socket{State: collectors.CloseWait, LocalPort: 1001, NetNS: peer}, time.Hour, app(8))
	for group, together := range map[string]bool{"port": false, "process": false, "host": true, "[host, port]": false, "netns": false} {
		both := s.run(s.file("netns: [host, peer]\n" + groupRule(closeWait+" && port == 1001", group, "count > 1", "log")))
		each := s.run(s.file("netns: [host, peer]\n" + groupRule(closeWait+" && port == 1001", group, "count == 1", "log")))
		s.noErrors(both)
		if want := map[bool][2]int{true: {2, 0}, false: {0, 2}}[together]; len(both.Findings) != want[0] || len(each.Findings) != want[1] {
			t.Errorf("%s: %d together and %d apart, want %v", group, len(both.Findings), len(each.Findings), want)
		}
	}
}

// A group's sums and ages come from its sockets.
func TestGroupSums(t *testing.T) {
	s := newStage(t, engine.Options{})
	all := s.leak(3, 30*time.Minute)
	all[0].RecvQueue, all[1].RecvQueue, all[2].SendQueue = 100, 20, 3
	for having, want := range map[string]bool{
		"sum_recv_queue == 120": true, "sum_recv_queue > 120": false, "sum_send_queue == 3": true,
		"enough": true, "not enough": false, "count == limit and enough": true,
		`max_age > "1h"`: false, `max_age < "1h"`: true, `max_age >= "30m"`: true,
		"fds > 0": false, "fds < 1000000": false, "fd_limit > 0": false, // of which process?
	} {
		r := s.run(s.file("vars: {limit: 3}\nmacros: {enough: count >= limit}\n" + groupRule(closeWait, "host", having, "log")))
		if got := len(r.Findings) == 3; got != want {
			t.Errorf("%s: %t", having, got)
		}
	}
	// An age grows while the engine watches.
	p := s.file(groupRule(closeWait, "host", `max_age > "1h"`, "log"))
	s.Advance(30*time.Minute - time.Second)
	before := len(s.run(p).Findings)
	s.Advance(2 * time.Second)
	if after := len(s.run(p).Findings); before != 0 || after != 3 {
		t.Errorf("%d findings before the age and %d after it", before, after)
	}
}

// A group rule owns its sockets like any other rule, but only if the group qualifies;
// exceptions do not count as members.
func TestGroupOwnership(t *testing.T) {
	s := newStage(t, engine.Options{})
	c := s.leak(4, time.Hour)[0]
	group := func(having, more string) string {
		return "  - {name: g, when: 'state == \"CLOSE_WAIT\"', group: pid, having: '" + having + "', then: [destroy]" + more + "}\n"
	}
	const plain = "  - {name: p, when: 'state == \"CLOSE_WAIT\"', then: [destroy]}\n"
	except := fmt.Sprintf(", unless: remote_port == %d", c.RemotePort)
	for _, test := range []struct{ rules, want string }{
		{group("count == 4", "") + plain, "g act, p shadowed"},
		{group("count > 4", "") + plain, "p act"},
		{plain + group("count == 4", ""), "p act, g shadowed"},
		{group("count == 4", ", mode: observe") + plain, "g observe, p act"},
		{group("count == 4", ", for: 1h") + plain, "g pending, p act"},
		{group("count == 4", except) + plain, "g unless, p act"}, // 3 are left
		{group("count == 3", except) + plain, "g unless, p act"},
		{group("count == 4", ", limits: {per_cycle: 1}") + plain, ""},
		{group("count == 4", "") + "protect: [{name: x, when: remote_port == " + fmt.Sprint(c.RemotePort) + "}]\n", "g protected"},
	} {
		r := s.run(s.file("rules:\n" + test.rules))
		if test.want == "" {
			s.expectTally(r, map[engine.Decision]int{engine.DecideAct: 1, engine.DecideLimited: 3, engine.DecideShadowed: 4})
			continue
		}
		if got := decisions(r, c); got != test.want {
			t.Errorf("%s\ngot %s, want %s", test.rules, got, test.want)
		}
	}
	// Those that the exception leaves are still a group.
	r := s.run(s.file("rules:\n" + group("count == 3", except)))
	s.expectTally(r, map[engine.Decision]int{engine.DecideUnless: 1, engine.DecideAct: 3})
}
