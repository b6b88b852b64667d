package watch

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"sockwarden/engine/look"
	"sockwarden/engine/world"
)

// Each namespace that cannot be entered is named once, even if it comes again.
func TestClosedNamespacesAreNamedOnce(t *testing.T) {
	var out strings.Builder
	n := notices{log: slog.New(slog.NewTextHandler(&out, nil)), closed: map[string]bool{}}
	why := fmt.Errorf("%w: run as root", world.ErrNoEntry)
	closed := func(names ...string) error { return &look.ClosedError{Names: names, Err: why} }
	named := &look.NamespaceError{Name: "mine", Err: fmt.Errorf("namespace mine: %w", why)}
	for _, c := range []struct {
		errs []error
		want string // in the log, "" for nothing
	}{
		{[]error{closed("a", "b")}, "namespaces a, b: cannot be entered: run as root"},
		{[]error{closed("a", "b")}, ""},
		{nil, ""},
		{[]error{closed("b", "c", "a")}, "namespace c: cannot be entered: run as root"},
		{[]error{closed("a"), named}, "namespace mine: cannot be entered: run as root"},
		{[]error{named, errors.New("other")}, "other"},
		{[]error{named}, ""},
		{[]error{closed("d", "e", "f", "g", "a")}, "namespaces d, e, f and 1 more: cannot be entered: run as root"},
	} {
		out.Reset()
		n.failures(c.errs)
		if said := out.String(); strings.Count(said, "\n") > 1 || !strings.Contains(said, c.want) || (said == "") != (c.want == "") {
			t.Errorf("%v: %q, not %q", c.errs, said, c.want)
		}
	}
	n.failures([]error{closed(strings.Fields(strings.Repeat("x ", maxClosed+1))...)})
	if len(n.closed) > maxClosed {
		t.Errorf("%d are remembered", len(n.closed))
	}
}
