package view

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sockwarden/actions"
	"sockwarden/collectors"
)

// PluginDoc is the description of a plugin of any kind.
type PluginDoc struct {
	Kind    string            `json:"kind"` // collector, action or notifier
	Name    string            `json:"name"`
	Summary string            `json:"summary"`
	Doc     string            `json:"doc"`
	Needs   string            `json:"needs"`
	Params  map[string]string `json:"params,omitempty"` // by name: type and meaning
}

// PluginDocs describes plugins in the order of their registries.
func PluginDocs(sources []collectors.Plugin, acts []actions.Plugin, notifiers []actions.NotifierPlugin) []PluginDoc {
	var docs []PluginDoc
	for _, p := range sources {
		docs = append(docs, PluginDoc{Kind: "collector", Name: p.Name, Summary: p.Summary, Doc: p.Doc, Needs: p.Needs})
	}
	for _, p := range acts {
		docs = append(docs, PluginDoc{Kind: "action", Name: p.Name, Summary: p.Summary, Doc: p.Doc, Needs: p.NeedsText(), Params: paramDocs(p.Params)})
	}
	for _, p := range notifiers {
		docs = append(docs, PluginDoc{Kind: "notifier", Name: p.Name, Summary: p.Summary, Doc: p.Doc, Needs: p.Needs, Params: paramDocs(p.Params)})
	}
	return docs
}

func paramDocs(params []actions.Param) map[string]string {
	docs := map[string]string{}
	for _, q := range params {
		docs[q.Name] = q.Type + ": " + q.Doc
	}
	return docs
}

// Plugins lists plugins, one per line.
func Plugins(o Out, docs []PluginDoc) error {
	if o.Format != Text {
		return writeRows(o, len(docs), func(i int) PluginDoc { return docs[i] })
	}
	t := newTable("KIND", "NAME", "SUMMARY")
	t.prose = true
	for _, d := range docs {
		t.row(d.Kind, d.Name, d.Summary)
	}
	t.write(o)
	return nil
}

// PluginsInFull shows everything about plugins: an action and a notifier can share a name.
func PluginsInFull(o Out, docs []PluginDoc) error {
	if o.Format != Text {
		return Plugins(o, docs)
	}
	for i := range docs {
		if i > 0 {
			fmt.Fprintln(o.W)
		}
		plugin(o, &docs[i])
	}
	return nil
}

func plugin(o Out, d *PluginDoc) {
	o.say("%s %s: %s\n", d.Kind, d.Name, d.Summary)
	fmt.Fprintf(o.W, "%s\n\n", strings.Join(wrapped(d.Doc, o.prose()), "\n"))
	o.say("needs: %s", d.Needs)
	if len(d.Params) == 0 {
		return
	}
	t := newTable("PARAMETER", "MEANING")
	t.prose = true
	for _, name := range slices.Sorted(maps.Keys(d.Params)) {
		t.row(name, d.Params[name])
	}
	fmt.Fprintln(o.W)
	t.write(o)
}
