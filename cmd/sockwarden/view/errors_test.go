package view

import (
	"errors"
	"strings"
	"testing"

	"sockwarden/engine"
)

// An error is one line that says each reason once.
func TestErrorText(t *testing.T) {
	for text, want := range map[string]string{
		"namespace foo: open sock_diag: not permitted (setns: operation not permitted)\nnot permitted: enter network namespace: operation not permitted": "namespace foo: open sock_diag: not permitted",
		"--owners=bpf: load the iterator: not permitted: load program: operation not permitted (MEMLOCK may be too low, consider rlimit.RemoveMemlock)":  "--owners=bpf: load the iterator: not permitted: load program",
		"self-test: not permitted (netlink receive: operation not permitted)":                                                                            "self-test: not permitted",
		"one\ntwo\none": "one; two",
		"cannot act: not permitted: destroying sockets needs CAP_NET_ADMIN, which this process does not have; nothing was done": "cannot act: not permitted: destroying sockets needs CAP_NET_ADMIN, which this process does not have; nothing was done",
	} {
		got := ErrorText(errors.New(text))
		if got != want || strings.Count(got, notPermitted) > 1 {
			t.Errorf("%q\nis said as %q\nnot %q", text, got, want)
		}
	}
	for want, err := range map[string]error{
		"1 matching socket spared: x":  &engine.SparedError{Sockets: 1, Why: "x"},
		"2 matching sockets spared: x": &engine.SparedError{Sockets: 2, Why: "x"},
		"breaker: would act on 9 targets: tripped before (count 5), 1 calm cycle to go; acted on none. Wait.": &engine.TrippedError{
			What: "9 targets", Limit: "count 5", Calm: 1, GoOn: "Wait.",
		},
	} {
		if got := ErrorText(err); got != want {
			t.Errorf("%q, not %q", got, want)
		}
	}
}
