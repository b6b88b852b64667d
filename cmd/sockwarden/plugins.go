package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"

	"github.com/spf13/cobra"

	"sockwarden/rules"
)

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// pluginDoc is a plugin of either kind as plugins shows it.
type pluginDoc struct {
	Kind    string            `json:"kind"`
	Name    string            `json:"name"`
	Summary string            `json:"summary"`
	Doc     string            `json:"doc"`
	Needs   string            `json:"needs"`
	Params  map[string]string `json:"params,omitempty"`
}

func (a *app) pluginsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plugins [NAME] [flags]",
		Short: "List the collectors, actions and notifiers that this program was built with",
		Example: `  sockwarden plugins
  sockwarden plugins destroy`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return usagef("plugins takes one name, not %d", len(args))
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			docs := a.pluginDocs()
			if len(args) == 1 {
				var names []string
				for _, d := range docs {
					names = append(names, d.Name)
				}
				if !slices.Contains(names, args[0]) {
					return usagef("unknown plugin %q%s", args[0], rules.Suggest(args[0], names))
				}
				docs = slices.DeleteFunc(docs, func(d pluginDoc) bool { return d.Name != args[0] })
			}
			switch {
			case a.flags.output != "table":
				enc := json.NewEncoder(a.stdout)
				if a.flags.output == "json" {
					enc.SetIndent("", "  ")
					return quietPipe(enc.Encode(docs))
				}
				for _, d := range docs {
					if err := enc.Encode(d); err != nil {
						return quietPipe(err)
					}
				}
			case len(args) == 1:
				a.printPlugin(docs[0])
			default:
				t := newTable("KIND", "NAME", "SUMMARY")
				for _, d := range docs {
					t.row(d.Kind, d.Name, d.Summary)
				}
				t.write(a.stdout)
			}
			return nil
		},
	}
	a.outputFlag(cmd)
	return cmd
}

func (a *app) pluginDocs() []pluginDoc {
	var docs []pluginDoc
	for _, p := range a.sources.All() {
		docs = append(docs, pluginDoc{Kind: "collector", Name: p.Name, Summary: p.Summary, Doc: p.Doc, Needs: p.Needs})
	}
	for _, p := range a.actions.All() {
		d := pluginDoc{Kind: "action", Name: p.Name, Summary: p.Summary, Doc: p.Doc, Needs: p.NeedsText(), Params: map[string]string{}}
		for _, q := range p.Params {
			d.Params[q.Name] = q.Type + ": " + q.Doc
		}
		docs = append(docs, d)
	}
	for _, p := range builtinNotifiers() {
		d := pluginDoc{Kind: "notifier", Name: p.Name, Summary: p.Summary, Doc: p.Doc, Needs: p.Needs, Params: map[string]string{}}
		for _, q := range p.Params {
			d.Params[q.Name] = q.Type + ": " + q.Doc
		}
		docs = append(docs, d)
	}
	return docs
}

func (a *app) printPlugin(d pluginDoc) {
	fmt.Fprintf(a.stdout, "%s %s: %s\n\n%s\n\nneeds: %s\n", d.Kind, d.Name, d.Summary, d.Doc, d.Needs)
	for _, name := range sorted(d.Params) {
		fmt.Fprintf(a.stdout, "  %-8s %s\n", name, d.Params[name])
	}
}

// version is set by the linker for releases.
var version = "devel"

func (a *app) versionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Example: `  sockwarden version
  sockwarden version -o json`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			v := version
			if info, ok := debug.ReadBuildInfo(); ok && v == "devel" {
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						v += "-" + s.Value[:min(12, len(s.Value))]
					}
				}
			}
			if a.flags.output != "table" {
				return quietPipe(json.NewEncoder(a.stdout).Encode(map[string]string{"version": v, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}))
			}
			_, err := fmt.Fprintf(a.stdout, "sockwarden %s %s %s/%s\n", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			return quietPipe(err)
		},
	}
	a.outputFlag(cmd)
	return cmd
}
