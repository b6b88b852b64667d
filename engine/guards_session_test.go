package engine

import (
	"fmt"
	"strings"
	"testing"

	"sockwarden/collectors/socklab"
)

// With sudo in tmux or screen, the ssh session is neither an ancestor nor in
// SSH_CONNECTION. The login uid identifies it, whatever its name would protect.
func TestGuardLogin(t *testing.T) {
	if socklab.Apart(t) {
		return
	}
	socklab.NeedLogins(t)
	for _, test := range []struct {
		program, login, own string
		kind                socklab.Kind
		want                string
	}{
		{"sshd", "1234", "1234", socklab.Established, `guarded "your own session"`},
		{"sshd-session", "1234", "1234", socklab.Established, `guarded "your own session"`},
		{"sshd-auth", "1234", "1234", socklab.CloseWait, `guarded "your own session"`},
		{"dropbear", "1234", "1234", socklab.Established, `guarded "your own session"`},
		{"mosh-server", "1234", "1234", socklab.UDPBound, `guarded "your own session"`},
		{"sshd", "0", "0", socklab.Established, `guarded "your own session"`},
		{"sshd", "4321", "1234", socklab.Established, `guarded "protected process sshd`},
		{"sshd", "", "1234", socklab.Established, `guarded "protected process sshd`},
		{"sshd", "", "", socklab.Established, `guarded "protected process sshd`}, // no login uid is not the same one
		{"sshd", "1234", "", socklab.Established, `guarded "protected process sshd`},
		{"mosh-server", "4321", "1234", socklab.UDPBound, "act "},
		{"web", "1234", "1234", socklab.Established, "act "},
	} {
		for _, then := range []string{destroyAll, killAll, cutAll} {
			if then == cutAll && strings.Contains(test.want, "protected") {
				continue
			}
			t.Run(fmt.Sprint(test.program, test.login, test.own, then), func(t *testing.T) {
				c := socklab.Make(t, test.kind, socklab.IPv4)
				h := socklab.StartHolder(t, socklab.HolderOptions{Conns: []*socklab.Conn{c}, Program: test.program, Login: test.login})
				text := ruleFile(port(c)+" && ("+anySocket+")", then)
				if then == killAll && test.kind == socklab.UDPBound {
					return // no signal for UDP
				}
				cmd, err := childCommand(orders{Life: "engine", Rules: readableRules(t, text)})
				must(t, "child", err)
				got := runCommand(t, cmd, test.own).rest(t)
				if !strings.Contains(got, test.want) {
					t.Errorf("not %s but %s", test.want, got)
				}
				if spared := strings.HasPrefix(test.want, "guarded"); spared != alive(c) || spared && !h.Running() {
					t.Errorf("spared %t: lives %t, its process %t", spared, alive(c), h.Running())
				}
			})
		}
	}
}
