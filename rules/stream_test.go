package rules

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestStreams: a caller that reads rules once and does not act can read them from a pipe
// that this process was given.
func TestStreams(t *testing.T) {
	t.Chdir(writeFiles(t, map[string]string{"s.txt": "203.0.113.9\n"}))
	const text = "version: 1\nsets: {s: {file: s.txt}}\nrules: [{name: r, then: [destroy], when: remote_addr in s}]\n"
	read := func(text string, change func(*Options)) (*Program, string, error) {
		t.Helper()
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		go func() { _, _ = w.WriteString(text); _ = w.Close() }()
		path := fmt.Sprintf("/dev/fd/%d", r.Fd())
		o := Options{Paths: []string{path}, Catalog: testCatalog()}
		if !Streams(o.Paths) {
			t.Errorf("%s is no stream", path)
		}
		change(&o)
		p, watched, err := Load(o)
		if len(watched) > 0 && watched[0] == path {
			t.Errorf("%s is watched", watched)
		}
		return p, path, err
	}
	p, _, err := read(text, func(*Options) {})
	if err != nil || p.Rules[0].When.Eval(leak()) != True {
		t.Errorf("%v", err)
	}
	inFile, _, err := Load(Options{Paths: []string{writeFiles(t, map[string]string{"a.yaml": text, "s.txt": "203.0.113.9\n"}) + "/a.yaml"}, Catalog: testCatalog()})
	if err != nil || inFile.Generation != p.Generation {
		t.Errorf("another generation than in a file (%v)", err)
	}
	for want, change := range map[string]func(*Options){
		"a live run does not trust it: nobody can say who wrote what comes out of a pipe; write the rules to a file that only you can write": func(o *Options) { o.Trust = true },
		"is a pipe, which can be read only once, and a watcher reads its rules again: write them to a file":                                  func(o *Options) { o.Again = true },
		"is neither a regular file nor a pipe": func(o *Options) { o.Paths = []string{"/dev/fd/" + nullFD(t)} },
		"is not open here: sudo closes what a shell opens for <(..); write the rules to a file, or to a pipe that --rules - reads": func(o *Options) { o.Paths = []string{"/dev/fd/999999"} },
	} {
		_, path, err := read(text, func(o *Options) {
			change(o)
		})
		var list Problems
		if !errors.As(err, &list) || list[0].Message != want {
			t.Errorf("%s: %v, want %s", path, err, want)
		} else if untrusted := strings.Contains(want, "trust"); untrusted != (list[0].ID == idUntrusted) {
			t.Errorf("%s is a problem of the kind %s", want, list[0].ID)
		}
	}
	_, path, err := read("version: 1\nrulez: []\n", func(*Options) {})
	if err == nil || !strings.HasPrefix(err.Error(), path+`:2:1: unknown key "rulez"`) {
		t.Error(err)
	}
	_, _, err = read(strings.Repeat("#", maxFile+1), func(*Options) {})
	if err == nil || !strings.Contains(err.Error(), "is larger than 1048576 bytes") {
		t.Error(err)
	}
}

// nullFD is an open device that is not a terminal.
func nullFD(t *testing.T) string {
	t.Helper()
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return fmt.Sprint(f.Fd())
}
