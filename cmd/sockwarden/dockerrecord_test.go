package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"sockwarden/collectors"
)

// containerRules read what is known of containers, and act on sockets, processes and whole
// containers.
const containerRules = `version: 1
netns: all
rules:
  - {name: listener, when: 'state == "LISTEN" and container != ""', then: [{destroy: {listen: true}}]}
  - {name: labelled, when: 'compose_service == "relay" and state == "CLOSE_WAIT"', then: [destroy]}
  - {name: image, when: 'image == "relay:1" and state == "CLOSE_WAIT"', then: [{signal: KILL}], limits: {max_collateral: 1}}
  - {name: not-hbbs, when: 'container != "hbbs" and state == "CLOSE_WAIT"', then: [{signal: TERM}]}
  - {name: many, when: 'state == "CLOSE_WAIT"', group: container, having: count > 2, then: [restart]}
  - {name: peer, when: 'peer_container != "" or published != "" or pod != ""', mode: observe, then: [log]}
`

// recordsContainers compares what audit finds here with what it finds in a recording that was
// made just before.
func recordsContainers(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	path, file := filepath.Join(dir, "rules.yaml"), filepath.Join(dir, "containers.jsonl.zst")
	if err := os.WriteFile(path, []byte(containerRules), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := run(t, "record", file, "--netns", "all", "--cmdline", "--state-file", "none"); code != 0 {
		t.Fatal(errs)
	}
	audit := func(args ...string) []string {
		t.Helper()
		_, out, errs := run(t, append([]string{"audit", "--rules", path, "-o", "json"}, args...)...)
		var report struct{ Findings []map[string]any }
		if err := json.Unmarshal([]byte(out), &report); err != nil {
			t.Fatalf("%v: %s", err, errs)
		}
		var all []string
		for _, f := range report.Findings {
			if socket, ok := f["socket"].(map[string]any); ok {
				maps.DeleteFunc(socket, func(name string, _ any) bool { return changes(name) })
			}
			if group, ok := f["group"].(map[string]any); ok {
				delete(group, "max_age")
			}
			all = append(all, fmt.Sprint(f))
		}
		slices.Sort(all)
		return all
	}
	host, replayed := audit("--state-file", "none"), audit("--from", file)
	if len(host) < 10 {
		t.Errorf("only %d findings", len(host))
	}
	for _, f := range host {
		if !slices.Contains(replayed, f) {
			t.Errorf("the recording lacks\n%s", f)
		}
	}
	for _, f := range replayed {
		if !slices.Contains(host, f) {
			t.Errorf("only the recording has\n%s", f)
		}
	}
}

// changes reports whether a field is another one a moment later, or proven otherwise.
func changes(name string) bool {
	field, ok := collectors.FieldByName(name)
	return ok && (field.Doc().Type == collectors.TypeSeconds || field == collectors.FieldFDs || field == collectors.FieldAgeSource)
}
