package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sockwarden/collectors/socklab"
	"sockwarden/collectors/socklab/systemdlab"
)

// blocks returns the indented blocks of a document that begin with a line, without the
// indentation. Blank lines within a block belong to it.
func blocks(t *testing.T, doc, first string) (all []string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, doc))
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile(`(?m)(^    .*\n(\n*    .*\n)*)`).FindAllString(string(text), -1) {
		block = regexp.MustCompile(`(?m)^    `).ReplaceAllString(block, "")
		if strings.HasPrefix(block, first) {
			all = append(all, block)
		}
	}
	return all
}

// quickly has the shipped watcher go by ages of a second, and no rule of its own.
const quickly = `[Service]
ExecStart=
ExecStart=` + systemdlab.Program + ` watch --live --interval 1s --var close_wait_timeout=1 --audit-log /var/log/sockwarden/audit.jsonl --log-file /var/log/sockwarden/log
`

// rustDesk runs the unit that docs/rustdesk.md shows, and hbbr, as a program that leaks. With
// the example as shipped it is cured, and again after a restart.
func (l *lab) rustDesk() {
	l.t.Helper()
	units := blocks(l.t, "docs/rustdesk.md", "# /etc/systemd/system/hbbs.service")
	if len(units) != 1 {
		l.t.Fatalf("docs/rustdesk.md shows %d units", len(units))
	}
	example, err := os.ReadFile(filepath.Join(root, "examples/rustdesk.yaml"))
	if err != nil {
		l.t.Fatal(err)
	}
	l.Write("rules.d/rustdesk.yaml", string(example))
	for program, words := range map[string]string{"hbbs": "port=21118 close_wait=3 established=1", "hbbr": "port=21117 close_wait=1"} {
		l.Write("units/"+program+".service", strings.ReplaceAll(units[0], "hbbs", program))
		l.Write("bin/"+program, fmt.Sprintf("#!/bin/sh\nexport %s=furnished\nexec %s/bin/holdsockets name=%s %s\n", socklab.EnvInside, systemdlab.Inside, program, words))
	}
	prepare := `set -e
echo rustdesk:x:4242:4242::/var/lib/rustdesk:/bin/false >> /etc/passwd
echo rustdesk:x:4242: >> /etc/group
mkdir -p /var/lib/rustdesk /etc/sockwarden
rm -rf /etc/sockwarden/rules.yaml
cp -r ` + systemdlab.Inside + `/rules.d /etc/sockwarden/
install -m 755 ` + systemdlab.Inside + `/bin/hbbs ` + systemdlab.Inside + `/bin/hbbr /usr/local/bin/
systemd-analyze verify ` + systemdlab.Inside + `/units/hbbs.service ` + systemdlab.Inside + `/units/hbbr.service 2>&1`
	if code, out, errs := l.Run("sh", "-c", prepare); code != 0 || out != "" {
		l.t.Fatalf("exits %d: %s%s", code, out, errs)
	}
	l.Unit("sockwarden.service.d/quickly.conf", quickly)
	l.Systemctl("start", "hbbs.service", "hbbr.service")
	leak := func() bool { return l.leaks("hbbs.service") == 3 && l.leaks("hbbr.service") == 1 }
	l.Until("hbbs and hbbr leak", leak)

	state := []string{"--state-file", "none", "--var", "close_wait_timeout=1"}
	l.Until("the example finds what they leak", func() bool {
		_, out, _ := l.Run(append([]string{systemdlab.Program, "audit", "-o", "jsonl"}, state...)...)
		return strings.Count(out, `"rustdesk-close-wait"`) == 4 && strings.Count(out, `"unit":"hbbs.service"`) == 3 && strings.Count(out, `"unit":"hbbr.service"`) == 1
	})
	l.says(`rule rustdesk-close-wait\n(.*\n)(would act .* hbb[sr]\[\d+\] .*\n){4}`, append([]string{"audit"}, state...)...)
	l.says(` 1 +ESTABLISHED +21118 +hbbs(.*\n)*gone 1 `, "kill", "-p", "rustdesk", "-s", "established", "-y")
	cured := func() bool { return l.leaks("hbbs.service") == 0 && l.leaks("hbbr.service") == 0 }
	l.Systemctl("start", "sockwarden.service")
	l.Until("the watcher cures both", cured)
	before := l.invocation("hbbs.service")
	l.Systemctl("restart", "hbbs.service")
	l.Until("the watcher cures what has been restarted", func() bool {
		_, log, _ := l.Run("cat", "/var/log/sockwarden/audit.jsonl")
		return cured() && strings.Count(log, `"event":"outcome"`) >= 7
	})
	if _, log, _ := l.Run("cat", "/var/log/sockwarden/log"); !regexp.MustCompile(` acted .* process=hbbs pid=\d+ unit=hbbs\.service `).MatchString(log) {
		l.t.Errorf("the log does not name the unit:\n%s", log)
	}
	if now := l.invocation("hbbs.service"); now == before {
		l.t.Errorf("it was not restarted: %s", now)
	}
	l.Systemctl("stop", "sockwarden.service", "hbbs.service", "hbbr.service")
}
