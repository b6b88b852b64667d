package control

import (
	"os"
	"os/exec"
	"testing"

	"sockwarden/collectors/socklab"
)

// What somebody says of themselves never hides who they are.
func TestAuthor(t *testing.T) {
	for says, want := range map[string]string{
		"": "root", "root": "root", "root (sudo: anna)": "root (sudo: anna)", "anna": "anna, as root", "anna)": "anna), as root", "bob (sudo: anna)": "bob (sudo: anna), as root",
		"root (sudo: )": "root (sudo: ), as root", "root (sudo: a) (login: b)": "root (sudo: a) (login: b), as root", "\x1b[2J": `"\x1b[2J", as root`,
		"root (sudo: \x1b)": `"root (sudo: \x1b)", as root`,
	} {
		if got := Author(0, 0, says); got != want {
			t.Errorf("%q: %s, not %s", says, got, want)
		}
	}
	socklab.NeedLogins(t)
	cmd := exec.Command("sleep", "600")
	cmd.Stderr = os.Stderr
	if err := socklab.StartLoggedIn(cmd, "4343"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for says, want := range map[string]string{
		"": "root (login: uid 4343)", "root (sudo: anna)": "root (sudo: anna, login: uid 4343)", "root (sudo: uid 4343)": "root (sudo: uid 4343)", "bob": "bob, as root (login: uid 4343)",
	} {
		if got := Author(0, cmd.Process.Pid, says); got != want {
			t.Errorf("%q: %s, not %s", says, got, want)
		}
	}
}
