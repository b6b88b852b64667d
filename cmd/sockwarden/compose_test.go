package main

import (
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
	"golang.org/x/sys/unix"

	"sockwarden/collectors/socklab/dockerlab"
)

// composeService is all that the documents say of a service. They may use no other key: it
// would be tried by no test.
type composeService struct {
	Image, Command, Restart string
	Name                    string `yaml:"container_name"`
	Network                 string `yaml:"network_mode"`
	Ports, Volumes          []string
	Ulimits                 map[string]uint64
}

// composeFiles reads the files of Compose that a document shows.
func composeFiles(t *testing.T, doc string) (all []map[string]composeService) {
	t.Helper()
	for _, text := range blocks(t, doc, "services:") {
		var file struct{ Services map[string]composeService }
		if err := yaml.Load([]byte(text), &file, yaml.WithKnownFields()); err != nil {
			t.Fatalf("%s: %v\n%s", doc, err, text)
		}
		all = append(all, file.Services)
	}
	return all
}

// composeUp starts services as Compose does, except that they use the image of the tests
// under the name of theirs, and that no limit exceeds ours. Programs replaces commands.
func composeUp(t *testing.T, d *dockerlab.Engine, services map[string]composeService, programs map[string]string) (addrs map[string]string) {
	t.Helper()
	addrs = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		s := services[name]
		args := []string{"--label", "com.docker.compose.project=rustdesk", "--label", "com.docker.compose.service=" + name, "--name", s.Name, "--restart", s.Restart}
		if s.Network != "" {
			args = append(args, "--network", s.Network)
		}
		for _, p := range s.Ports {
			args = append(args, "-p", p)
		}
		for _, v := range s.Volumes {
			args = append(args, "-v", filepath.Join(t.TempDir(), v))
		}
		for what, n := range s.Ulimits {
			args = append(args, "--ulimit", what+"="+strconv.FormatUint(min(n, mayOpen(t)), 10))
		}
		command := s.Command
		if other := programs[name]; other != "" {
			command = other
		}
		id, _ := d.Run(append(append(args, s.Image), strings.Fields(command)...)...)
		addrs[name] = d.Docker("inspect", "-f", "{{.NetworkSettings.IPAddress}}", id)
	}
	return addrs
}

// mayOpen is the limit of descriptors that nobody here can raise.
func mayOpen(t *testing.T) uint64 {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	return limit.Max
}
