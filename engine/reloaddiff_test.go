package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab"
	"sockwarden/engine/look"
	"sockwarden/rules"
)

// TestReloadSaysWhatDiffers: a watcher says for how many sockets new rules differ, before
// they act, and by SIGHUP, too. Where they do not differ it says nothing.
func TestReloadSaysWhatDiffers(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	leak := []*socklab.Conn{socklab.Make(t, socklab.CloseWait, socklab.IPv4), socklab.Make(t, socklab.CloseWait, socklab.IPv4)}
	holder(t, leak...)
	file := func(entries string) string {
		return fmt.Sprintf("version: 1\nvars: {leak: [%d, %d]}\nrules:\n%s", leak[0].Local.Port(), leak[1].Local.Port(), entries)
	}
	const r, other = "  - {name: r, when: port in leak and state == \"CLOSE_WAIT\", then: [destroy]}\n", "  - {name: other, when: state == \"SYN_SENT\", then: [log]}\n"
	w := watchRules(t, Options{Live: true}, time.Hour, map[string]string{"rules.yaml": file(other)})
	w.write(t, "rules.yaml", file(other+"  - {name: more, when: port == 1, then: [log]}\n"))
	w.logged(t, 1, "msg=\"rules reloaded")
	w.write(t, "rules.yaml", file(r+other))
	w.logged(t, 2, "msg=\"rules reloaded")
	w.logged(t, 1, "level=INFO", `msg="reload: 2 more sockets, 2 living, by r"`)
	w.logged(t, 1, "msg=acted", "rule=r")
	lines := w.journal.lines()
	at := func(word string) int {
		return slices.IndexFunc(lines, func(l string) bool { return strings.Contains(l, word) })
	}
	if at("reload: ") > at("msg=acted") {
		t.Error("it is said only afterwards")
	}
	again := []*socklab.Conn{socklab.Make(t, socklab.CloseWait, socklab.IPv4), socklab.Make(t, socklab.CloseWait, socklab.IPv4), socklab.Make(t, socklab.CloseWait, socklab.IPv4)}
	holder(t, again...)
	text := fmt.Sprintf("version: 1\nrules:\n  - {name: seen, when: \"port in [%d, %d, %d] and state == 'CLOSE_WAIT'\", mode: observe}\n", again[0].Local.Port(), again[1].Local.Port(), again[2].Local.Port())
	w.write(t, "rules.yaml", text)
	w.reload <- unix.SIGHUP
	w.logged(t, 1, `msg="reload: 3 sockets otherwise, 3 living, by seen"`)
	w.write(t, "rules.yaml", "version: 1\n")
	w.logged(t, 2, `msg="reload: 3 sockets otherwise, 3 living, by seen"`)
	w.end(t)
	if n := len(w.journal.lines("level=INFO", "msg=\"reload: ")); n != 3 {
		t.Errorf("%d lines:\n%s", n, strings.Join(w.journal.lines("reload"), "\n"))
	}
}

// TestReloadBounded: a watcher compares no more sockets than it has time for, and only by
// a cycle that was about both.
func TestReloadBounded(t *testing.T) {
	was, now := &rules.Program{Generation: "sha256:a"}, &rules.Program{Generation: "sha256:b"}
	picture := func(younger ...*rules.Program) *look.Picture {
		return &look.Picture{Wanted: look.Wanted{Program: was, Younger: younger}, Candidates: make([]*look.Candidate, maxCompared+1)}
	}
	e := &Engine{last: lastCycle{picture: picture(now)}}
	if text, ok := e.compare(t.Context(), was, now); !ok || text != "10001 sockets are too many to compare here: sockwarden rules diff does" {
		t.Errorf("%q %v", text, ok)
	}
	for _, p := range []*look.Picture{nil, picture()} {
		e.last.picture = p
		if text, ok := e.compare(t.Context(), was, now); ok {
			t.Errorf("compared: %q", text)
		}
	}
}
