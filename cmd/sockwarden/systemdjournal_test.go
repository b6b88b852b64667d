package main

import (
	"encoding/json"
	"regexp"
	"strings"
)

// journald starts a real systemd-journald, which keeps what units say in the lab's own /run.
func (l *lab) journald() {
	l.t.Helper()
	prepare := `set -e
mkdir -p /etc/systemd /run/log/journal
printf '[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\n' > /etc/systemd/journald.conf
test -s /etc/machine-id || echo 0123456789abcdef0123456789abcdef > /etc/machine-id`
	if code, _, errs := l.Run("sh", "-c", prepare); code != 0 {
		l.t.Fatal(errs)
	}
	l.Unit("journal.service", "[Unit]\nDefaultDependencies=no\n[Service]\nType=notify\nExecStart=/lib/systemd/systemd-journald\nStandardOutput=null\n")
	l.Systemctl("start", "journal.service")
}

// journalLines are the lines of the journal that match, as journalctl tells programs.
func (l *lab) journalLines(match ...string) (lines []map[string]any) {
	l.t.Helper()
	code, out, errs := l.Run(append([]string{"journalctl", "-o", "json"}, match...)...)
	if code != 0 {
		l.t.Fatalf("journalctl exits %d: %s%s", code, out, errs)
	}
	for line := range strings.Lines(out) {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			l.t.Fatalf("%v: %s", err, line)
		}
		lines = append(lines, fields)
	}
	return lines
}

// inJournal checks the line about the rule leak: it has its priority, and what it says can
// be asked for by field.
func (l *lab) inJournal() {
	l.t.Helper()
	lines := l.journalLines("-u", watcher, "SOCKWARDEN_RULE=leak", "SOCKWARDEN_STATE=CLOSE_WAIT")
	if len(lines) == 0 {
		l.t.Fatalf("nothing of the rule leak in %v", l.journalLines("-u", watcher))
	}
	for name, want := range map[string]string{
		"PRIORITY": "6", "SOCKWARDEN_PORT": "9031", "SOCKWARDEN_DECISION": "observe", "SYSLOG_IDENTIFIER": "sockwarden", "_TRANSPORT": "journal", "_SYSTEMD_UNIT": watcher,
	} {
		if got := lines[0][name]; got != want {
			l.t.Errorf("the field %s is %v, not %s: %v", name, got, want, lines[0])
		}
	}
	if text, _ := lines[0]["MESSAGE"].(string); !regexp.MustCompile(`^\w.* rule=leak `).MatchString(text) {
		l.t.Errorf("the message is %q", text)
	}
}
