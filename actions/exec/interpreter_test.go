package exec

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A script that the kernel could not start is reported before it is needed.
func TestInterpreter(t *testing.T) {
	for name, c := range map[string]struct{ text, why string }{
		"a script":       {"#!/bin/sh\ntrue\n", ""},
		"with arguments": {"#! /bin/sh -e\ntrue\n", ""},
		"no script":      {"\x7fELF", ""},
		"CR LF":          {"#!/bin/sh\r\ntrue\r\n", "ends with CR LF"},
		"none":           {"#!\ntrue\n", "names no interpreter"},
		"not there":      {"#!/no/such/sh\ntrue\n", "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "hook")
			must(t, "write", os.WriteFile(path, []byte(c.text), 0o700))
			err := action{program: path}.Preflight(t.Context())
			if (err == nil) != (c.why == "") || err != nil && !strings.Contains(err.Error(), c.why) {
				t.Errorf("%v, not %q", err, c.why)
			}
		})
	}
}
