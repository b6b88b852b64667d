package rules

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
	"sockwarden/rules/lang"
)

const (
	oneRule = "version: 1\nrules:\n  - {name: one, when: port == 1, then: [destroy]}\n"
	twoRule = "version: 1\nrules:\n  - {name: two, when: port == 2, then: [destroy]}\n"
)

func ruleNames(p *Program) string {
	var names []string
	for _, r := range p.Rules {
		names = append(names, r.Name)
	}
	return strings.Join(names, " ")
}

// TestHostileText: what is not a rules file is refused quickly and in few words.
func TestHostileText(t *testing.T) {
	bomb := "a: &a [x, x, x, x, x, x, x, x]\n"
	for c := 'b'; c < 'j'; c++ {
		bomb += fmt.Sprintf("%c: &%[1]c [%s]\n", c, strings.Repeat(fmt.Sprintf("*%c, ", c-1), 8))
	}
	tests := map[string]struct{ text, want string }{
		"parentheses":  {strings.Repeat("(", 1000_000), "the file is a mapping of names to values, not"},
		"condition":    {"version: 1\nrules: [{name: r, then: [destroy], when: '" + strings.Repeat("(", 1000_000) + "'}]\n", "is too long (at most 8192)"},
		"too large":    {"version: 1\n#" + strings.Repeat(" ", maxFile), "is larger than 1048576 bytes"},
		"lists":        {strings.Repeat("[", 1000_000), "exceeded max depth"},
		"flow maps":    {"version: 1\nvars: " + strings.Repeat("{a: ", 50_000), "exceeded max depth"},
		"block maps":   {deepBlocks(1300), "unknown key"},
		"bomb":         {bomb, "aliases are not supported"},
		"key":          {"version: 1\n" + strings.Repeat("x", 900_000) + ": 1\n", "unknown key \"xxx"},
		"rule name":    {"version: 1\nrules: [{name: " + strings.Repeat("x", 900_000) + ", when: owned, then: [destroy]}]\n", "a rule's name is made of"},
		"action":       {"version: 1\nrules: [{name: x, when: owned, then: [" + strings.Repeat("x", 900_000) + "]}]\n", "unknown action"},
		"mode":         {"version: 1\nrules: [{name: x, when: owned, mode: " + strings.Repeat("x", 900_000) + "}]\n", "mode is disabled, observe or enforce"},
		"duration":     {"version: 1\nrules: [{name: x, when: owned, then: [destroy], for: " + strings.Repeat("9", 900_000) + "}]\n", `for: "99999`},
		"binary":       {"\x7fELF\x02\x01\x01\x00\x00\x00", "control characters are not allowed"},
		"invalid text": {"version: 1\n# \xff\xfe\n", "is not UTF-8 text"},
		"utf-16":       {"\xff\xfev\x00e\x00r\x00", "is not UTF-8 text"},
		"surrogate":    {"version: 1\n# \xed\xa0\x80\n", "is not UTF-8 text"},
		"zero":         {"version: 1\n# \x00\n", "control characters are not allowed"},
		"only a mark":  {"\ufeff", "the file is empty"},
	}
	limit := mostTime(t, 130_000)
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			start := spent(t)
			_, err := load(writeFiles(t, map[string]string{"rules.yaml": tt.text}), "rules.yaml")
			if d := spent(t) - start; d > limit {
				t.Errorf("took %v of CPU time, more than %s", d, limit)
			}
			var list Problems
			if !errors.As(err, &list) || !strings.Contains(list.Error(), tt.want) {
				t.Fatalf("got %.300v, want %s", err, tt.want)
			}
			if n := len(list[0].Detail()); n > 1200 {
				t.Errorf("the first problem is told in %d bytes", n)
			}
		})
	}
}

func deepBlocks(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

func TestNoFile(t *testing.T) {
	dir := writeFiles(t, map[string]string{"good.yaml": oneRule, "sub.yaml/x": "", "empty/x.txt": "", "hidden/.x.yaml": oneRule})
	if err := unix.Mkfifo(filepath.Join(dir, "pipe.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "dangling.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("loop.yaml", filepath.Join(dir, "loop.yaml")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"none.yaml":     "none.yaml: cannot be read: no such file or directory",
		"good.yaml/x":   "good.yaml/x: cannot be read: not a directory",
		"pipe.yaml":     "pipe.yaml: is not a regular file",
		"dangling.yaml": "dangling.yaml: cannot be read: no such file or directory",
		"loop.yaml":     "loop.yaml: cannot be read: too many levels of symbolic links",
		"empty":         "empty: no rules in this directory: name the files *.yaml or *.yml",
		"hidden":        "hidden: no rules in this directory: name the files *.yaml or *.yml",
	} {
		_, err := load(dir, path)
		checkLines(t, problemLines(t, err, dir), want)
	}
	// One bad file spoils the whole directory, and all bad ones are named.
	_, err := load(dir, ".")
	checkLines(t, problemLines(t, err, dir),
		"dangling.yaml: cannot be read: no such file or directory", "loop.yaml: cannot be read: too many levels of symbolic links",
		"pipe.yaml: is not a regular file", "sub.yaml: is not a regular file")
	// Unreadable files are watched too: they may become readable.
	_, watched, err := Load(Options{Paths: []string{filepath.Join(dir, "none.yaml")}})
	if err == nil || !slices.Contains(watched, filepath.Join(dir, "none.yaml")) {
		t.Errorf("watched %v, %v", watched, err)
	}
}

func TestDirectories(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"b.yaml": twoRule, "a.yaml": oneRule, "c.yml": strings.ReplaceAll(oneRule, "one", "three"), "d.yaml~": "nonsense", ".e.yaml": "nonsense",
		"f.txt": "nonsense", "[x*]?/g.yaml": strings.ReplaceAll(oneRule, "one", "four"),
	})
	p, err := load(dir, ".", "[x*]?")
	if err != nil {
		t.Fatal(err)
	}
	if got := ruleNames(p); got != "one two three four" {
		t.Errorf("rules %s", got)
	}
	var files []string
	for _, f := range p.Files {
		files = append(files, fmt.Sprint(strings.TrimPrefix(f.Path, dir+"/"), " ", f.Rules))
	}
	checkLines(t, files, "a.yaml 1", "b.yaml 1", "c.yml 1", "[x*]?/g.yaml 1")
}

// TestDefaultDirectory: built-in rules stand in only for a directory that does not exist.
func TestDefaultDirectory(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"both/rules.yaml": oneRule, "both/rules.d/b.yaml": strings.ReplaceAll(oneRule, "one", "three"), "both/rules.d/a.yaml": twoRule, "both/x.yaml": "nonsense",
		"main/rules.yaml": oneRule, "sub/rules.d/a.yaml": twoRule, "none/rules.txt": "", "none/rules.d/x": "", "bad/rules.yaml": oneRule, "bad/rules.d/x.yaml": "nonsense",
		"file": "",
	})
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	load := func(name string) (*Program, []string, error) {
		return Load(Options{Dir: filepath.Join(dir, name), Catalog: testCatalog()})
	}
	for name, want := range map[string]string{"both": "one two three", "main": "one", "sub": "two"} {
		p, watched, err := load(name)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := ruleNames(p); got != want || p.NoDefaultDir {
			t.Errorf("%s: rules %s, want %s; stand-in %v", name, got, want, p.NoDefaultDir)
		}
		for _, w := range []string{"", "rules.d"} {
			if !slices.Contains(watched, filepath.Join(dir, name, w)) {
				t.Errorf("%s: %s is not watched", name, w)
			}
		}
	}
	p, watched, err := load("missing")
	if err != nil || !p.NoDefaultDir || ruleNames(p) != "close-wait fin-wait closing last-ack time-wait" || !slices.Contains(watched, filepath.Join(dir, "missing")) {
		t.Errorf("missing: %v, watched %v", err, watched)
	}
	const cure = "the directory exists but has no rules.yaml and nothing in rules.d; add rules, or name the built-in ones: --rules builtin"
	for _, name := range []string{"empty", "none"} {
		_, _, err := load(name)
		checkLines(t, problemLines(t, err, dir), name+": "+cure)
	}
	_, _, err = load("bad")
	checkLines(t, problemLines(t, err, dir), `bad/rules.d/x.yaml:1:1: the file is a mapping of names to values, not "nonsense": write version: 1`)
	_, _, err = load("file")
	checkLines(t, problemLines(t, err, dir), "file: is not a directory")
	_, _, err = load("file/x")
	checkLines(t, problemLines(t, err, dir), "file/x: cannot be read: not a directory")
}

// TestNotRead: there is a warning for files that look like rules but are not read, and
// for nothing else.
func TestNotRead(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"etc/rules.yaml": oneRule, "etc/rules.yml": "nonsense", "etc/rules.d/b.yml": twoRule,
		"alone/rules.yml": oneRule,
	})
	p, _, err := Load(Options{Dir: filepath.Join(dir, "etc"), Catalog: testCatalog()})
	if err != nil || ruleNames(p) != "one two" {
		t.Fatalf("%v, %v", p, err)
	}
	checkLines(t, problemLines(t, p.Warnings, dir), "etc/rules.yml: is not read: call it rules.yaml, or move it into rules.d")
	p, err = load(dir, "etc/rules.d")
	if err != nil || len(p.Warnings) > 0 {
		t.Errorf("%v, %v", p.Warnings, err)
	}
	if err := os.Remove(filepath.Join(dir, "etc/rules.yml")); err != nil {
		t.Fatal(err)
	}
	// A directory named on the command line is not the default one.
	if p, err = load(dir, "etc"); err != nil || ruleNames(p) != "one" {
		t.Fatalf("%v, %v", p, err)
	}
	checkLines(t, problemLines(t, p.Warnings, dir), "etc/rules.d: is not read, as no directory within one is: name it, too")
	_, _, err = Load(Options{Dir: filepath.Join(dir, "alone"), Catalog: testCatalog()})
	checkLines(t, problemLines(t, err, dir),
		"alone: the directory exists but has no rules.yaml and nothing in rules.d; add rules, or name the built-in ones: --rules builtin",
		"alone/rules.yml: is not read: call it rules.yaml, or move it into rules.d")
}

// TestUnreadableDirectory: a directory that cannot be listed does not count as empty.
func TestUnreadableDirectory(t *testing.T) {
	dir := writeFiles(t, map[string]string{"rules.yaml": oneRule, "rules.d/a.yaml": twoRule})
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	sub := filepath.Join(dir, "rules.d")
	if err := os.Chmod(sub, 0o000); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Chmod(sub, 0o755) })
	err := unprivileged(t, func() error {
		_, _, err := Load(Options{Dir: dir, Catalog: testCatalog()})
		return err
	})
	checkLines(t, problemLines(t, err, dir), "rules.d: cannot be read: permission denied")
}

// unprivileged calls f on a thread without power over other users' files.
func unprivileged(t *testing.T, f func() error) error {
	t.Helper()
	if os.Geteuid() != 0 {
		return f()
	}
	result := make(chan error)
	go func() {
		// The thread ends with the goroutine, since it is never unlocked.
		runtime.LockOSThread()
		const nobody = 65534
		if _, err := unix.SetfsuidRetUid(nobody); err != nil {
			result <- err
			return
		}
		result <- f()
	}()
	return <-result
}

func TestBuiltin(t *testing.T) {
	p, _, err := Load(Options{Paths: []string{Builtin}, Catalog: testCatalog(), Trust: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Warnings) > 0 {
		t.Errorf("warnings: %v", p.Warnings)
	}
	info := p.Query.Fields.Meets(collectors.InfoFields())
	if got := fmt.Sprintf("%v %v %v", statesIn(p.Query.States), p.Query.Protocols, info); got != "[FIN_WAIT1 FIN_WAIT2 TIME_WAIT CLOSE_WAIT LAST_ACK CLOSING] [tcp] true" {
		t.Errorf("query %s", got)
	}
	if hits := p.NewEvaluator().Match(leak()); len(hits) != 1 || p.Rules[hits[0]].Name != "close-wait" {
		t.Errorf("a leak matches %v", hits)
	}
	// The example of the design.
	vars := []Override{{Name: "close_wait_timeout", Value: "30"}, {Name: "exclude_ports", Value: "22,3306"}, {Name: "escalate", Value: "kill"}, {Name: "include_ports", Value: "80"}}
	p, _, err = Load(Options{Paths: []string{Builtin}, Catalog: testCatalog(), Vars: vars})
	if err != nil {
		t.Fatal(err)
	}
	if hits := p.NewEvaluator().Match(leak()); len(hits) != 0 {
		t.Errorf("a port that is not included matches %v", hits)
	}
	if got := p.Rule("close-wait").Then[2].If.Eval(leak()); got != True {
		t.Errorf("escalate=kill: the last rung is %v", got)
	}
	r := leak()
	r.Socket.RemotePort = 3306
	if got := p.Protect[0].When.Eval(r); got != True {
		t.Errorf("an excluded port is %v", got)
	}
	// A longer TIME_WAIT gets a warning only if somebody asked for it.
	p, _, err = Load(Options{Paths: []string{Builtin}, Catalog: testCatalog(), Vars: []Override{{Name: "time_wait_timeout", Value: "90"}}})
	if err != nil || len(p.Warnings) != 1 || !strings.Contains(p.Warnings[0].Message, "Linux ends TIME_WAIT after 60 seconds") {
		t.Errorf("%v, warnings %v", err, p.Warnings)
	}
}

// TestOnlyIPv6: whoever writes ::/0 may have meant everyone.
func TestOnlyIPv6(t *testing.T) {
	for list, warns := range map[string]bool{
		`["::/0"]`: true, `["fd00::/8", "::/0"]`: true, "everyone": true,
		`["::/0", "0.0.0.0/0"]`: false, `["::/0", "10.0.0.0/8"]`: false, `["::/1"]`: false, `["::ffff:0:0/96"]`: false, "both": false,
	} {
		p := mustLoad(t, "version: 1\nsets: {everyone: ['::/0'], both: ['::/0', 0.0.0.0/0]}\nprotect:\n  - name: p\n    when: 'port == 22 and remote_addr in "+list+"'\n")
		found := ofKind(p.Warnings, lang.IDIPv6Only)
		got := fmt.Sprint(found)
		if (len(found) > 0) != warns || warns && (len(found) != 1 || !strings.Contains(got, ":5:42: ::/0 is about IPv6 only: add 0.0.0.0/0")) {
			t.Errorf("%s: %s", list, got)
		}
	}
}

// TestNamesOfAllFiles: names are unique across all files.
func TestNamesOfAllFiles(t *testing.T) {
	protect := "version: 1\nprotect:\n  - {name: ssh, when: port == 22}\n"
	dir := writeFiles(t, map[string]string{"a.yaml": oneRule, "b.yaml": twoRule, "c.yaml": oneRule, "d.yaml": protect, "e.yaml": protect})
	_, err := load(dir, ".")
	checkLines(t, problemLines(t, err, dir), `c.yaml:3:12: rule "one" is already at a.yaml:3: give one of them another name`, `e.yaml:3:5: protect "ssh" is already at d.yaml:3: give one of them another name`)
}

// TestScopeOfFiles: vars, sets, macros and defaults apply to their own file, protect to
// all.
func TestScopeOfFiles(t *testing.T) {
	dir := writeFiles(t, map[string]string{
		"a.yaml": "version: 1\nnetns: blue\nvars: {n: 1}\nmacros: {m: port == n}\ndefaults: {limits: {per_cycle: 3}, breaker: {count: 10, share: 50%}}\n" +
			"rules:\n  - {name: a, when: m, then: [destroy]}\nprotect:\n  - {name: p, when: port == 1}\n",
		"b.yaml": "version: 1\nnetns: [red, host]\nvars: {n: 2}\nmacros: {m: remote_port == n}\ndefaults: {breaker: {count: 20, share: 10%}}\nrules:\n  - {name: b, when: m, then: [destroy]}\n",
	})
	p, err := load(dir, "a.yaml", "b.yaml")
	if err != nil {
		t.Fatal(err)
	}
	a, b := p.Rules[0], p.Rules[1]
	r := leak()
	r.Socket.LocalPort, r.Socket.RemotePort = 1, 3
	if a.When.Eval(r) != True || b.When.Eval(r) != False {
		t.Error("the names of one file are those of the other")
	}
	if a.Limits.PerCycle != 3 || b.Limits != defaultLimits {
		t.Errorf("limits %v, %v", a.Limits, b.Limits)
	}
	for _, order := range [][]string{{"a.yaml", "b.yaml"}, {"b.yaml", "a.yaml"}} {
		p, err := load(dir, order...)
		if err != nil || p.Breaker.Count != 10 || p.Breaker.Share != 0.10 || p.Breaker.ShareMin != 50 {
			t.Errorf("%v: breaker %+v is not the strictest, %v", order, p.Breaker, err)
		}
	}
	if fmt.Sprint(p.NetNS) != "[blue red host]" || !a.InNetNS(named("blue")) || a.InNetNS(named("host")) || !b.InNetNS(named("host")) || !b.InNetNS(named("red")) ||
		a.InNetNS(named("azure", "green")) || !a.InNetNS(named("azure", "green", "blue")) {
		t.Errorf("netns %v", p.NetNS)
	}
	for ns, want := range map[string]string{"blue": "[0]", "red": "[]", "net:[1]": "[]"} {
		r.Namespace.Name = ns
		if got := fmt.Sprint(p.NewEvaluator().Match(r)); got != want {
			t.Errorf("in %s match %s, want %s", ns, got, want)
		}
	}
	// A name that only the other file defines is missing.
	_, err = load(writeFiles(t, map[string]string{"a.yaml": "version: 1\nvars: {limit: 1}\n", "b.yaml": ruleWith("port == limit")}), ".")
	if err == nil {
		t.Error("a variable of another file was taken")
	}
}

// TestOnly: --rule keeps the named rules; protect always stays.
func TestOnly(t *testing.T) {
	text := "version: 1\nprotect:\n  - {name: p, when: port == 22}\nrules:\n  - {name: one, when: state == \"LISTEN\", then: [destroy]}\n  - {name: two, when: state == \"CLOSING\", then: [destroy]}\n"
	dir := writeFiles(t, map[string]string{"a.yaml": text, "b.yaml": "version: 1\nnetns: blue\nrules:\n  - {name: three, when: owned, then: [destroy]}\n"})
	opts := Options{Paths: []string{dir}, Only: []string{"two"}, Catalog: testCatalog()}
	p, _, err := Load(opts)
	if err != nil {
		t.Fatal(err)
	}
	if ruleNames(p) != "two" || len(p.Protect) != 1 || fmt.Sprint(statesIn(p.Query.States)) != "[CLOSING]" || fmt.Sprint(p.NetNS) != "[host]" {
		t.Errorf("rules %s, %d protect, query %v, netns %v", ruleNames(p), len(p.Protect), statesIn(p.Query.States), p.NetNS)
	}
	opts.Only = []string{"two", "tree"}
	_, _, err = Load(opts)
	checkUsage(t, err, `--rule: no rule "tree" (did you mean "three"?); there are one, two, three`)
}

func checkUsage(t *testing.T, err error, want string) {
	t.Helper()
	var usage *UsageError
	if !errors.As(err, &usage) || usage.Error() != want {
		t.Errorf("got %v (%T), want usage error %s", err, err, want)
	}
}

func TestNetNS(t *testing.T) {
	dir := writeFiles(t, map[string]string{"a.yaml": "version: 1\nnetns: [blue]\n" + oneRule[len("version: 1\n"):], "b.yaml": twoRule})
	for flag, want := range map[string]string{"": "[blue host]", "all": "[all]", "red,green": "[red green]"} {
		p, _, err := Load(Options{Paths: []string{dir}, NetNS: flag, Catalog: testCatalog()})
		if err != nil || fmt.Sprint(p.NetNS) != want {
			t.Errorf("--netns %q: %v, %v; want %s", flag, p.NetNS, err, want)
		}
	}
	p, _, err := Load(Options{Paths: []string{dir}, NetNS: "all", Catalog: testCatalog()})
	if err != nil || !p.Rules[0].InNetNS(named("whatever")) {
		t.Errorf("all does not hold every namespace: %v", err)
	}
}

// TestDisabled: a disabled rule is checked, but asks for nothing.
func TestDisabled(t *testing.T) {
	p := mustLoad(t, "version: 1\nrules:\n  - {name: r, mode: disabled, when: process == \"x\" and protocol == \"udp\"}\n")
	if p.Query.States != 0 || len(p.Query.Protocols) != 0 || !p.Reads.Empty() || len(p.NewEvaluator().Match(leak())) != 0 {
		t.Errorf("query %v reads %s", p.Query, p.Reads)
	}
	checkLines(t, problems(t, "version: 1\nrules:\n  - {name: r, mode: disabled, when: nonsense}\n"), `3:37: unknown name "nonsense": it is neither a field (sockwarden rules fields lists them) nor a variable, set or macro`)
}

// TestReads: the fields that unless, protect and if read are wanted too.
func TestReads(t *testing.T) {
	p := mustLoad(t, `
version: 1
protect:
  - {name: p, when: user == "root"}
rules:
  - {name: r, when: port == 1, unless: idle > 5, then: [{destroy: , if: unit == ""}]}
  - {name: s, when: port == 2, then: [{signal: TERM, if: age > 5}]}
  - {name: t, when: port == 2, unless: rtt > 5, then: [destroy]}
`)
	for name, want := range map[string]bool{"user": true, "idle": true, "unit": true, "port": true, "age": true, "process": false} {
		f := fieldNamed(t, name)
		if p.Reads.Has(f) != want {
			t.Errorf("reads %s: %v", name, !want)
		}
	}
	if !p.Query.Fields.Meets(collectors.InfoFields()) {
		t.Error("idle needs tcp_info")
	}
	if p.Rule("r").ReadsAge() || !p.Rule("s").ReadsAge() || p.Rule("none") != nil {
		t.Error("the wrong rule reads age")
	}
}

// named is a namespace with the name that asked for it.
func named(name string, meant ...string) *collectors.Namespace {
	return &collectors.Namespace{Name: name, Meant: meant}
}
