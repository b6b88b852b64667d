package doctor

import (
	"testing"

	"sockwarden/collectors/socklab"
)

func TestMain(m *testing.M) { socklab.Main(m) }

func must(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}
