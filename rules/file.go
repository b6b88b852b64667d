package rules

import (
	"time"

	"go.yaml.in/yaml/v4"

	"sockwarden/rules/lang"
)

// rulesFile is one parsed file; its conditions are not compiled yet. Each of its
// parts reads the sections that it keeps.
type rulesFile struct {
	*reader
	netns     []string
	names     *names
	defaults  *defaults
	notifiers *actionSection
	rules     *ruleSection
}

// newRulesFile is the file of that name before it is parsed. What is wrong with it
// goes to the problems.
func newRulesFile(path, text string, problems *problemList) *rulesFile {
	r := &reader{src: newSource(path, text), problems: problems}
	d := &defaults{reader: r, limits: defaultLimits, zone: time.Local}
	return &rulesFile{
		reader:    r,
		names:     newNames(r, path),
		defaults:  d,
		notifiers: &actionSection{reader: r, all: map[string]Notifier{}},
		rules:     &ruleSection{reader: r, defaults: d},
	}
}

// parse reads the structure of a file. What is wrong goes to the problems;
// the rest is there nevertheless, so that everything is reported at once.
func (f *rulesFile) parse(catalog, notifiers Catalog) {
	f.rules.catalog, f.notifiers.catalog = catalog, notifiers
	root, ok := f.parseYAML()
	if !ok {
		return
	}
	version := false
	var protect, rules []*yaml.Node
	f.fields(root, "the file", map[string]func(*yaml.Node){
		"version": func(n *yaml.Node) {
			version = true
			if n.Value != "1" {
				f.errorf(idNoVersion, n, "version %s is not known: write version: 1", nodeKind(n))
			}
		},
		"netns":    f.parseNetNS,
		"timezone": f.defaults.parseZone,
		"vars":     f.names.parseVars,
		"sets":     f.names.parseSets,
		"macros":   f.names.parseMacros,
		"defaults": f.defaults.parseDefaults,
		"actions":  f.notifiers.parse,
		"protect":  func(n *yaml.Node) { protect = f.items(n, "protect", `"- name: ..." for each of its entries`) },
		"rules":    func(n *yaml.Node) { rules = f.items(n, "rules", `"- name: ..." for each rule`) },
	})
	if !version && root.Kind == yaml.MappingNode {
		f.errorf(idNoVersion, root, "no version: write \"version: 1\" at the top")
	}
	f.names.checkNames()
	for _, n := range protect {
		f.rules.parseProtect(n)
	}
	// Only now: rules without limits of their own have those of defaults.
	for _, n := range rules {
		f.rules.parseRule(n)
	}
}

// maxNetNS bounds the names of network namespaces in a file: each rule is asked
// about each of them.
const maxNetNS = 256

func (f *rulesFile) parseNetNS(n *yaml.Node) {
	if n.Kind == yaml.SequenceNode {
		if len(n.Content) > maxNetNS {
			f.errorf(lang.IDTooLarge, n, "netns has %d names, at most %d: write netns: all", len(n.Content), maxNetNS)
			return
		}
		for _, k := range n.Content {
			if name, ok := f.text(k, "a name of netns"); ok {
				f.netns = append(f.netns, name)
			}
		}
		return
	}
	if n.Kind == yaml.MappingNode {
		f.errorf(idWrongForm, n, "netns is host, all, or a list of names: write netns: [a, b]")
		return
	}
	if name, ok := f.text(n, "netns"); ok {
		f.netns = []string{name}
	}
}
