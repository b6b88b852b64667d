package engine

import (
	"path/filepath"
	"testing"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/silence"
)

// A silence mutes messages, also of rules that only observe; what it did not let through
// is told when it is over, and what was told before is not told again.
func TestSilenceMutesMessages(t *testing.T) {
	socklab.LeakCheck(t)
	path := filepath.Join(t.TempDir(), "silences.json")
	box := &mailbox{}
	l := newLab(t, Options{Live: true, Notify: true, Silences: []string{path}, Notifiers: []actions.NotifierPlugin{box.plugin()}}, keeper())
	l.news.Outbox.Between = 0
	holder(t, socklab.Make(t, socklab.CloseWait, socklab.IPv4))
	p := l.notifyingRules(t, `version: 1
rules:
  - {name: told, when: state == "CLOSE_WAIT", mode: observe, then: [keep], notify: [ops]}
  - {name: acts, when: state == "LAST_ACK" or state == "CLOSE_WAIT", then: [keep], notify: [ops], limits: {cooldown: 0}}
`)
	cycle := func() {
		t.Helper()
		l.Tell(t.Context(), p, l.run(t, p))
	}
	one := &silence.Silence{Rules: []string{"acts"}, CreatedBy: "anna", StartsAt: time.Now(), EndsAt: time.Now().Add(time.Hour)}
	must(t, "add", silence.Add(t.Context(), path, []string{path}, one))
	cycle()
	socklab.WaitFor(t, "the message of the other rule", func() bool { return len(box.messages()) == 1 })
	all := &silence.Silence{Expr: "port > 0", CreatedBy: "anna", StartsAt: time.Now(), EndsAt: time.Now().Add(time.Hour)}
	must(t, "add", silence.Add(t.Context(), path, []string{path}, all))
	holder(t, socklab.Make(t, socklab.CloseWait, socklab.IPv4)) // new, and muted
	cycle()
	for id := range 2 {
		must(t, "remove", silence.Remove(t.Context(), []string{path}, id+1, "bob", time.Now()))
	}
	cycle()
	socklab.WaitFor(t, "what was muted", func() bool { return len(box.messages()) == 3 })
	rules := map[string]int{}
	for _, m := range box.messages() {
		rules[m.Rule] += m.Total
	}
	// The first socket of the rule that told was told before the silence, and again with the
	// second, as there are much more now.
	if rules["told"] != 3 || rules["acts"] != 2 {
		t.Errorf("told of %v", rules)
	}
}
