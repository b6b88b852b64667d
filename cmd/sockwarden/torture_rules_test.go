package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"sockwarden/rules"
)

// The ports of the torture, by what its rules say about CLOSE_WAIT there.
const (
	named4      = 20001 // destroyed
	named6      = 20002 // destroyed
	namedAged   = 20003 // destroyed when older than a program on a busy machine takes to close
	namedEither = 20004 // destroyed by one rule or another
	namedKept   = 20005 // destroyed, and SIGUSR1 for whoever keeps the descriptor
	politePort  = 20006 // SIGTERM, which is enough
	rudePort    = 20007 // SIGTERM, and then SIGKILL
	other4      = 20010 // not named
	other6      = 20011 // not named
	exceptPort  = 20012 // named, but spared by unless
	protectPort = 20013 // named, but spared by protect
	guardedPort = 20014 // named, but held by a protected process
	ownPort     = 20015 // named, but held by whoever started sockwarden
	observePort = 20016 // named by a rule that only observes
	canaryPort  = 20017 // named by a rule whose canary is nobody
	quotaPort   = 20018 // named, one per cycle
)

// tortureRules returns a rules file; its variants differ only in what makes no difference
// to the sockets.
func tortureRules(variant int) string {
	list := []string{
		`  - {name: observed, when: 'state == "CLOSE_WAIT" && port == 20016', mode: observe, then: [destroy]}`,
		`  - {name: canary, when: 'state == "CLOSE_WAIT" && port == 20017', canary: 0.001%, then: [destroy]}`,
		`  - {name: quota, when: 'state == "CLOSE_WAIT" && port == 20018', then: [destroy], limits: {per_cycle: 1, cooldown: 1s}}`,
		`  - {name: aged, when: 'state == "CLOSE_WAIT" && port == 20003 && age > 5', then: [destroy]}`,
		`  - {name: kept, when: 'state == "CLOSE_WAIT" && port == 20005', then: [destroy, {signal: USR1, if: 'result == "fd_still_held"'}]}`,
		`  - {name: ladder, when: 'state == "CLOSE_WAIT" && port in [20006, 20007]', then: [{signal: TERM, wait: 400ms}, {signal: KILL, wait: 2s}]}`,
	}
	switch variant % 5 {
	case 0:
		list = append(list, `  - {name: named, when: 'state == "CLOSE_WAIT" && (port in named || port == 20004)', unless: port == 20012, then: [destroy]}`)
	case 1: // in another order, and split
		list = append([]string{
			`  - {name: either, when: 'state == "CLOSE_WAIT" && port == 20004', then: [destroy]}`,
			`  - {name: named, when: 'state == "CLOSE_WAIT" && port in named', unless: 'port in [20012]', then: [destroy]}`,
		}, list...)
	case 2: // other limits, which also cancels ladders
		list[5] = strings.Replace(list[5], "}]}", "}], limits: {per_cycle: 3}}", 1)
		list = append(list, `  - {name: named, when: '(port in named || port == 20004) && state == "CLOSE_WAIT"', unless: "!(port != 20012)", then: [destroy], limits: {per_cycle: 20, cooldown: 1s}}`)
	case 3: // with rules that would be the end of everything
		list = append(list, `  - {name: named, when: 'state == "CLOSE_WAIT" && (port in named || port == 20004)', unless: port == 20012, then: [destroy]}`,
			`  - {name: everything-disabled, when: true, mode: disabled, then: [destroy, {signal: KILL}]}`,
			`  - {name: everything-observed, when: true, mode: observe, then: [destroy, {signal: KILL}]}`,
			`  - {name: everything-held, when: true, for: 24h, then: [destroy, {signal: KILL}]}`)
	case 4: // with one that soaks, and one outside its window for ever
		list = append([]string{`  - {name: everything-soaking, when: 'state == "ESTABLISHED"', soak: 24h, mode: observe, then: [destroy]}`}, list...)
		list = append(list, `  - {name: named, when: 'state == "CLOSE_WAIT" && (port in named || port == 20004)', unless: port == 20012, then: [destroy]}`)
	}
	return fmt.Sprintf(`# variant %d
version: 1
protect:
  - {name: protected-port, when: port == 20013}
sets:
  named: [20001, 20002, 20012, 20013, 20014, 20015]
defaults:
  limits: {per_cycle: 60, cooldown: 1s}
  breaker: {count: 2000, share: 90%%}
rules:
%s
`, variant, strings.Join(list, "\n"))
}

// lethal is the end of everything if it is ever adopted.
const lethal = `version: 1
defaults: {limits: {per_cycle: 100000, cooldown: 1s}, breaker: {count: 1000000, share: 100%}}
rules:
  - {name: lethal, when: true, then: [destroy, {signal: KILL}]}
  - {name: lethal-udp, when: protocol == "udp", then: [{destroy: {udp: true}}]}
`

// broken are files that must never be adopted.
var broken = []string{
	"",
	"version: 1\n",
	lethal + "rulez: []\n",
	lethal + "]]]\n",
	lethal + "---\n" + lethal,
	lethal + "  - {name: lethal, when: true, then: [destroy]}\n",
	lethal + "  - {name: typo, when: state == \"CLOSEWAIT\", then: [destroy]}\n",
	lethal + "  - {name: divides, when: age / 0 > 1, then: [destroy]}\n",
	lethal + "  - {name: unknown, when: true, then: [explode]}\n",
	strings.Replace(lethal, "version: 1", "version: 2", 1),
	strings.Replace(lethal, "version: 1\n", "", 1),
	lethal + "protect: [{name: nothing}]\n",
	lethal + "\x00",
}

// rewriter keeps rewriting a rules file.
type rewriter struct {
	path string
	stop chan struct{}
	done sync.WaitGroup
	err  error

	valid, invalid, untrusted, removed int
}

func startRewriter(t *testing.T, path string) *rewriter {
	t.Helper()
	r := &rewriter{path: path, stop: make(chan struct{})}
	r.done.Go(r.run)
	t.Cleanup(r.end)
	return r
}

func (r *rewriter) end() {
	select {
	case <-r.stop:
	default:
		close(r.stop)
	}
	r.done.Wait()
}

func (r *rewriter) run() {
	defer func() { r.err = errors.Join(r.err, replaceRules(r.path, tortureRules(0), 0o600)) }()
	last := []func(int) error{r.replace, r.breakIt, r.overwrite, r.distrust, r.replace, r.remove}
	for n := 0; r.err == nil; n++ {
		// A burst, any part of which may be read, and time to read its end.
		for range 3 {
			r.err = errors.Join(r.err, last[rand.IntN(len(last))](n))
			if r.pause(time.Duration(rand.IntN(30)) * time.Millisecond) {
				return
			}
		}
		r.err = errors.Join(r.err, last[n%len(last)](n))
		length := time.Duration(300+rand.IntN(400)) * time.Millisecond
		if n%len(last) == 0 { // long enough to take effect
			length += rules.Settle
		}
		if r.pause(length) {
			return
		}
	}
}

func (r *rewriter) pause(d time.Duration) (stopped bool) {
	select {
	case <-r.stop:
		return true
	case <-time.After(d):
		return false
	}
}

func (r *rewriter) replace(n int) error {
	r.valid++
	return replaceRules(r.path, tortureRules(n), 0o600)
}

// overwrite truncates and writes; if there is no file it makes one.
func (r *rewriter) overwrite(n int) error {
	r.valid++
	return os.WriteFile(r.path, []byte(tortureRules(n)), 0o600)
}

func (r *rewriter) breakIt(int) error {
	r.invalid++
	return replaceRules(r.path, broken[r.invalid%len(broken)], 0o600)
}

// distrust writes a file that others can write to.
func (r *rewriter) distrust(int) error {
	r.untrusted++
	return replaceRules(r.path, lethal, 0o666)
}

func (r *rewriter) remove(int) error {
	r.removed++
	if err := os.Remove(r.path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// replaceRules writes as editors do: another file takes over the name.
func replaceRules(path, text string, mode os.FileMode) error {
	tmp := filepath.Join(filepath.Dir(path), ".new")
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		return err
	}
	return errors.Join(os.Chmod(tmp, mode), os.Rename(tmp, path))
}
