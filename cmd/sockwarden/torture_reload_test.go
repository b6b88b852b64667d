package main

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"sockwarden/collectors/socklab"
	"sockwarden/rules"
)

// The ports of sockets in CLOSE_WAIT, by what spares them; those at the first are destroyed.
const (
	reloadNamed = 21000 + iota
	reloadProtect
	reloadObserve
	reloadUnless
	reloadAllowed
	reloadKept
	reloadFor
	reloadCondition
	reloadGroup
	reloadSoak
	reloadLast
)

// wholeRules are files that spare all ports but one, each by something else, and mostly
// by what comes last: without it they are valid and destroy.
func wholeRules() map[string]string {
	rule := func(name string, port int, more ...string) string {
		text := fmt.Sprintf("  - name: %s\n    then: [destroy]\n    limits: {cooldown: 1s}\n    when: state == \"CLOSE_WAIT\" and port == %d\n", name, port)
		for _, m := range more {
			text += "      " + m + "\n"
		}
		return text
	}
	key := func(text, key string) string { return text + "    " + key + "\n" }
	const head = "version: 1\ndefaults: {breaker: {count: 100000, share: 100%}}\n"
	return map[string]string{
		"00-protect.yaml": head + fmt.Sprintf("protect:\n  - name: p\n    when: port == %d\n", reloadProtect),
		"10-main.yaml": head + "sets:\n  bans: {file: bans.txt}\nrules:\n" + rule("protected", reloadProtect) +
			strings.Replace(rule("named", 0), "port == 0", "port in bans", 1),
		"20-keys.yaml": head + "rules:\n" + key(rule("observed", reloadObserve), "mode: observe") + key(rule("excepted", reloadUnless), "unless: port > 0") +
			key(rule("held", reloadFor), "for: 24h") + key(rule("soaking", reloadSoak), "soak: 24h"),
		"30-condition.yaml": head + "rules:\n" + rule("condition", reloadCondition, "and orphan"),
		"40-lists.yaml": head + "sets:\n  allow: {file: allow.txt}\n  keep: {file: keep.txt}\nrules:\n" +
			rule("kept", reloadKept, "and port not in keep") + key(rule("allowed", reloadAllowed), "unless: port in allow"),
		"50-group.yaml": head + "rules:\n" + key(key(rule("grouped", reloadGroup), "group: port"), "having: count > 0\n      and count > 1000"),
		"bans.txt":      fmt.Sprintf("1\n2\n%d\n", reloadNamed),
		"allow.txt":     fmt.Sprintf("1\n2\n%d\n", reloadAllowed),
		"keep.txt":      fmt.Sprintf("1\n2\n%d\n", reloadKept),
	}
}

// meddler keeps rewriting the rules of one watcher, in every way that leaves them
// incomplete for a moment.
type meddler struct {
	base    string // the dir in it is a link to where the files are
	whole   map[string]string
	version int
	stop    chan struct{}
	longest time.Duration // for which anything was incomplete
	err     error
}

func newMeddler(t *testing.T) *meddler {
	t.Helper()
	m := &meddler{base: t.TempDir(), whole: wholeRules(), stop: make(chan struct{})}
	if err := m.swap(); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *meddler) dir() string { return filepath.Join(m.base, "dir") }

// text returns the whole content of a file, never the same twice.
func (m *meddler) text(name string) string {
	m.version++
	return m.whole[name] + fmt.Sprintf("# %d\n", m.version)
}

// swap replaces all files at once, as Kubernetes does.
func (m *meddler) swap() error {
	m.version++
	was, _ := os.Readlink(m.dir())
	now := filepath.Join(m.base, fmt.Sprint("v", m.version))
	errs := []error{os.Mkdir(now, 0o700)}
	for name := range m.whole {
		errs = append(errs, os.WriteFile(filepath.Join(now, name), []byte(m.text(name)), 0o600))
	}
	tmp := filepath.Join(m.base, "tmp")
	errs = append(errs, os.Symlink(now, tmp), os.Rename(tmp, m.dir()))
	if was != "" {
		errs = append(errs, os.RemoveAll(was))
	}
	return errors.Join(errs...)
}

// half writes part of a file, and the rest later; closed says whether it closes the file
// in between.
func (m *meddler) half(name string, closed bool) error {
	path, text := filepath.Join(m.dir(), name), m.text(name)
	cut := rand.IntN(len(text))
	if i := strings.LastIndexByte(text[:cut], '\n'); i >= 0 && rand.IntN(3) > 0 {
		cut = i + 1 // whole lines: more often valid
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text[:cut])
	if closed {
		err = errors.Join(err, f.Close())
	}
	m.pause(400)
	if closed {
		if f, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0); err != nil {
			return err
		}
	}
	_, err2 := f.WriteString(text[cut:])
	return errors.Join(err, err2, f.Close())
}

func (m *meddler) vanish(name string) error {
	err := os.Remove(filepath.Join(m.dir(), name))
	m.pause(400)
	return errors.Join(err, replaceRules(filepath.Join(m.dir(), name), m.text(name), 0o600))
}

func (m *meddler) directoryAway() error {
	err := os.Rename(m.dir(), m.dir()+".away")
	m.pause(400)
	return errors.Join(err, os.Rename(m.dir()+".away", m.dir()))
}

// many writes every file anew, one after the other.
func (m *meddler) many() error {
	var errs []error
	for name := range m.whole {
		errs = append(errs, replaceRules(filepath.Join(m.dir(), name), m.text(name), 0o600))
		m.pause(30)
	}
	return errors.Join(errs...)
}

func (m *meddler) pause(ms int) {
	select {
	case <-m.stop:
	case <-time.After(time.Duration(rand.IntN(ms)) * time.Millisecond):
	}
}

func (m *meddler) run() {
	names := slices.Sorted(maps.Keys(m.whole))
	for m.err == nil {
		select {
		case <-m.stop:
			return
		default:
		}
		name, began := names[rand.IntN(len(names))], time.Now()
		switch rand.IntN(8) {
		case 0, 1, 2:
			m.err = m.half(name, false)
		case 3, 4:
			m.err = m.half(name, true)
		case 5:
			m.err = m.vanish(name)
		case 6:
			m.err = m.directoryAway()
		case 7:
			if m.err = m.swap(); m.err == nil {
				m.err = m.many()
			}
			began = time.Now() // all were whole throughout
		}
		m.longest = max(m.longest, time.Since(began))
		m.pause(500)
	}
}

// TestTortureReloads has watchers read their rules again and again while these are half
// written, replaced or gone: nothing that the whole files spare is destroyed. For ten
// thousand times: make torture.
func TestTortureReloads(t *testing.T) {
	if apart(t) {
		return
	}
	const tries = 10
	for i := range tries {
		away := tortureReloads(t, fmt.Sprint("reloads", i))
		if away == 0 {
			return
		}
		t.Logf("rules were incomplete for %s, in which they may count: once more", away)
	}
	t.Errorf("%d times rules were incomplete for too long", tries)
}

// tortureReloads is one try. If something was lost and rules were incomplete for long, it
// returns for how long: this machine is too busy then.
func tortureReloads(t *testing.T, name string) (away time.Duration) {
	t.Helper()
	_, scale := tortureSize(t)
	watchers, reloads := 2, 15
	if scale > 1 {
		watchers, reloads = 8, 10_000
	}
	ns := socklab.NewNamespace(t, name)
	l := life{Comm: "leaky"}
	for port := reloadNamed; port < reloadLast; port++ {
		l.Serve = append(l.Serve, at(port))
		if port > reloadNamed {
			l.Leaks = append(l.Leaks, spared(10*scale, at(port))...)
		}
	}
	l.Leaks = append(l.Leaks, named(5, at(reloadNamed))...)
	leaky := l.start(t, ns)
	var meddling sync.WaitGroup
	var meddlers []*meddler
	var wardens []*warden
	for range watchers {
		m := newMeddler(t)
		w := startWarden(t, ns, itself(t, "watch", "--live", "-v", "--log-format", "json", "--interval", "100ms", "--rules", m.dir(), "--state-file", "none"), nil)
		meddlers, wardens = append(meddlers, m), append(wardens, w)
	}
	stop := sync.OnceFunc(func() {
		for _, m := range meddlers {
			close(m.stop)
		}
		meddling.Wait()
	})
	t.Cleanup(stop)
	for i, w := range wardens {
		w.await(t, "the watcher to start", func() bool { return w.counted()["watching live"] == 1 })
		meddling.Go(meddlers[i].run)
	}
	read := func() (n int) {
		for _, w := range wardens {
			lines := w.counted()
			n += lines["rules changed, in force when they stay so"] + lines["rules changed in the middle of a cycle"] + rejected(lines)
		}
		return n
	}
	began := time.Now()
	for _, w := range wardens {
		w.awaitLong(t, "enough reloads", 45*time.Minute, func() bool { return read() >= reloads })
	}
	took := time.Since(began)
	stop()
	var longest time.Duration
	for _, m := range meddlers {
		if longest = max(longest, m.longest); m.err != nil {
			t.Error(m.err)
		}
	}
	leaky.ask(t, "quiet")
	wardens[0].await(t, "the end of everything that is banned", func() bool { return leaky.ask(t, "report").Named == 0 })
	for _, w := range wardens {
		if code, _ := w.term(t); code != 0 {
			t.Errorf("exit code %d\n%s", code, w.tail())
		}
	}
	var total stats
	end, want := leaky.ask(t, "finish"), (reloadLast-reloadProtect)*10*scale
	if end.Survived != want && longest > rules.Settle*3/4 {
		return longest
	}
	total.add(t, "leaky", end)
	if total.Survived != want {
		t.Errorf("%d of %d sockets that the whole files spare have survived; nothing was incomplete for longer than %s", total.Survived, want, longest)
	}
	t.Logf("%d reloads in %s by %d watchers, rules incomplete for at most %s: %d sockets survived, %d that were banned destroyed", read(), took.Round(time.Second), watchers, longest, total.Survived, total.Destroyed)
	return 0
}
