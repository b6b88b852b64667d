package socklab

import (
	"os"
	"testing"
)

// A test that runs apart has another network namespace than the rest of its binary, and a
// name that tells it apart.
func TestApart(t *testing.T) {
	const envOther = "SOCKLAB_OTHER"
	own, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	if _, inside := os.LookupEnv(envApart); !inside {
		if err := os.Setenv(envOther, own); err != nil { //nolint:usetesting // not in a parallel test
			t.Fatal(err)
		}
	}
	if Apart(t) || testing.CoverMode() != "" {
		return
	}
	if other := os.Getenv(envOther); other == own || other == "" {
		t.Errorf("in %s, and the others in %q", own, other)
	}
}

// The outcome of a test is on its own line, not on that of a subtest or another test.
func TestSaid(t *testing.T) {
	const out = "=== RUN   TestX\n--- FAIL: TestX (1.00s)\n    --- PASS: TestX/a (0.50s)\n--- PASS: TestXY (0.10s)\nFAIL\n"
	for name, want := range map[string]bool{"TestX": false, "TestX/a": true, "TestXY": true, "TestY": false, "Test": false} {
		if said([]byte(out), "PASS", name) != want {
			t.Errorf("%s: %t", name, !want)
		}
	}
}
