package engine

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"

	"sockwarden/collectors"
	"sockwarden/collectors/procnet"
	"sockwarden/collectors/socklab"
	"sockwarden/engine/act"
)

// unhandled is a protocol for which no kernel has a handler: the kernel answers as it
// does for TCP where tcp_diag is missing.
const unhandled collectors.Protocol = 132

// Without a handler there are no cookies, and nothing could be acted on: preflight finds
// that out.
func TestPreflightWithoutHandler(t *testing.T) {
	l := newLab(t, Options{})
	for then, missing := range map[string]bool{"destroy": true, "{signal: TERM}": true, "log": false} {
		p := l.rules(t, ruleFile("port == 1", then))
		must(t, "with handlers", act.Preflight(t.Context(), p))
		p.Query.Protocols = []collectors.Protocol{unhandled}
		err := act.Preflight(t.Context(), p)
		if errors.Is(err, collectors.ErrNotSupported) != missing || missing && !strings.Contains(err.Error(), "modprobe") {
			t.Errorf("%s: %v", then, err)
		}
		p.Query.Protocols = []collectors.Protocol{unhandled, collectors.TCP}
		must(t, "one of two", act.Preflight(t.Context(), p))
	}
}

// withoutHandler is a source that answers like a kernel without a handler.
type withoutHandler struct{ collectors.Collector }

func (withoutHandler) Collect(context.Context, collectors.Query) iter.Seq2[*collectors.Socket, error] {
	return func(yield func(*collectors.Socket, error) bool) { yield(nil, collectors.ErrNotSupported) }
}

// A report does not promise to remember ages of sockets without a cookie.
func TestAgeWithoutCookie(t *testing.T) {
	c := socklab.Make(t, socklab.CloseWait, socklab.IPv4)
	missing := collectors.Plugin{Name: "none", New: func(int) collectors.Collector { return withoutHandler{} }}
	l := newLab(t, Options{Sources: []collectors.Plugin{missing, procnet.Plugin()}}).stranger()
	r := l.cycle(t, l.rules(t, ruleFile(port(c)+` && state == "CLOSE_WAIT" && age > 1`, "destroy")))
	if r.AgeUnproven != 0 || len(r.Errors) == 0 || !strings.Contains(r.Errors[0].Error(), "ages are unknown and nothing can be acted on") {
		t.Errorf("%d ages unproven, %v", r.AgeUnproven, r.Errors)
	}
}
