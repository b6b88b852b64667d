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

// Apart runs a test in a process of its own, in namespaces of its own, beside others that
// do so: for one that waits for the kernel's timers most of the time. It returns true
// where that has been done, and false in the process that is to run the test. How many run
// at a time -parallel says. It can be called by a subtest, the parent of which should be
// parallel then, and first of all in any case. Under -cover the test runs where it is, so
// that it counts.
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

// apartArgs are the arguments for the test alone, with those of its subtests that -run asks
// for, and the time that is left.
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

// said reports whether the output of a test names a result of it.
func said(out []byte, how, name string) bool {
	for line := range strings.Lines(string(out)) {
		if strings.HasPrefix(strings.TrimSpace(line), "--- "+how+": "+name+" (") {
			return true
		}
	}
	return false
}
