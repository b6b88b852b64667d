package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"sockwarden/cmd/sockwarden/view"
)

// version is set by the linker in releases.
var version = "devel"

func versionCommand(a *app) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Example: `  sockwarden version
  sockwarden version -o json`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error { return a.printVersion() },
	}
	declare{a, cmd}.output()
	return cmd
}

func (a *app) printVersion() error {
	v := versionText()
	if a.out().Format == view.JSON || a.out().Format == view.Lines {
		about := map[string]string{"version": v, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
		return quietPipe(json.NewEncoder(a.stdout).Encode(about))
	}
	_, err := fmt.Fprintf(a.stdout, "sockwarden %s %s %s/%s\n", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return quietPipe(err)
}

// versionText is the version; a build that is not a release includes its commit.
func versionText() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || version != "devel" {
		return version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return version + "-" + s.Value[:min(12, len(s.Value))]
		}
	}
	return version
}
