package socklab

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

const envNobody = "SOCKLAB_NOBODY"

// IsNobody reports whether this process is the child of AsNobody.
func IsNobody() bool { return os.Getenv(envNobody) != "" }

// AsNobody runs f as another user: it runs the test again in a child, which changes its
// user for good.
func AsNobody(t *testing.T, f func()) {
	t.Helper()
	if IsNobody() {
		if err := syscall.Setuid(65534); err != nil {
			Lacks(t, fmt.Errorf("setuid: %w", err)) // a user namespace with one user
		}
		f()
		return
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), exe, "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), envNobody+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skipf("%s", out)
	}
}
