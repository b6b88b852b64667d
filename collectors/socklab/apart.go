package socklab

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// envApart names the test that this process was started for.
const envApart = "SOCKLAB_APART"

// Apart runs a test in its own process and namespaces, beside others that do so. It is
// for tests that spend most of their time waiting for the kernel's timers. It returns
// true when the test has run there, and false in the process that is to run it. -parallel
// limits how many run at a time. Call it before anything else; a subtest can call it, and
// its parent should then be parallel. Under -cover the test runs in place and so counts.
func Apart(t *testing.T) (done bool) {
	t.Helper()
	if os.Getenv(envApart) == t.Name() || testing.CoverMode() != "" {
		return false
	}
	Need(t)
	t.Parallel()
	exe, err := os.Executable()
	if err != nil {
		t.Fatalf("socklab: own executable: %v", err)
	}
	cmd := exec.CommandContext(t.Context(), exe, apartArgs(t)...)
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, EnvInside+"=") }), envApart+"="+t.Name())
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatalf("socklab: %v", err)
	}
	switch {
	case err != nil, !said(out, "PASS", t.Name()) && !said(out, "SKIP", t.Name()):
		t.Errorf("apart: %v\n%s", err, out)
	case said(out, "SKIP", t.Name()):
		t.Skipf("apart:\n%s", out)
	case testing.Verbose():
		t.Logf("apart:\n%s", out)
	}
	return true
}

// apartArgs are the arguments to run the test alone, with the subtests that -run selects
// and the time that is left.
func apartArgs(t *testing.T) []string {
	parts := strings.Split(t.Name(), "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	if asked := strings.Split(flag.Lookup("test.run").Value.String(), "/"); len(asked) > len(parts) {
		parts = append(parts, asked[len(parts):]...)
	}
	args := []string{"-test.v", "-test.run=" + strings.Join(parts, "/")}
	if end, ok := t.Deadline(); ok {
		args = append(args, fmt.Sprintf("-test.timeout=%s", time.Until(end)))
	}
	return args
}

// said reports whether the output names a result of the test.
func said(out []byte, how, name string) bool {
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(strings.TrimSpace(line), "--- "+how+": "+name+" (") {
			return true
		}
	}
	return false
}
