package rules

import (
	"time"

	"go.yaml.in/yaml/v4"

	"sockwarden/rules/lang"
)

// rulesFile is one parsed file; its conditions are not compiled yet. Each of its parts
// reads its own sections.
type rulesFile struct {
	*reader
	netns     []string
	names     *names
	defaults  *defaults
	notifiers *actionSection
	rules     *ruleSection
}

// newRulesFile returns the file of that name before it is parsed. Errors in it go to the
// problems.
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

// sections are what is read of a file after everything else.
type sections struct {
	version        bool // there is one
	protect, rules []*yaml.Node
	overrides      *yaml.Node // nil for none
}

var fileKeys = keys[*rulesFile, *sections]{
	{"version", "the version of the language: 1", schema{"enum": []any{1, "1"}}, (*rulesFile).parseVersion},
	{
		"netns", "where to look: host (the default), all, or names and patterns of network namespaces and containers",
		anyOfForms(textForm, listForm(textForm).with("maxItems", maxNetNS)), func(f *rulesFile, _ *sections, n *yaml.Node) { f.parseNetNS(n) },
	},
	{
		"timezone", "the time zone of during, as Europe/Vienna; local time if left out", filledForm,
		func(f *rulesFile, _ *sections, n *yaml.Node) { f.defaults.parseZone(n) },
	},
	{
		"vars", "constants of this file; --var sets them", namedForm(nameForm, refTo("variable")),
		func(f *rulesFile, _ *sections, n *yaml.Node) { f.names.parseVars(n) },
	},
	{
		"sets", "lists that conditions ask with in: ports, addresses or names", namedForm(nameForm, refTo("set")),
		func(f *rulesFile, _ *sections, n *yaml.Node) { f.names.parseSets(n) },
	},
	{"macros", "parts of conditions that have a name", namedForm(nameForm, textForm), func(f *rulesFile, _ *sections, n *yaml.Node) { f.names.parseMacros(n) }},
	{
		"defaults", "limits of all rules of this file, and the breaker", refTo("defaults"),
		func(f *rulesFile, _ *sections, n *yaml.Node) { f.defaults.parseDefaults(n) },
	},
	{
		"actions", "configured notifiers, which rules name under notify", namedForm(ruleNameForm, refTo("notifier")),
		func(f *rulesFile, _ *sections, n *yaml.Node) { f.notifiers.parse(n) },
	},
	{
		"protect", "what every rule of every file spares", listForm(refTo("protect")),
		func(f *rulesFile, s *sections, n *yaml.Node) {
			s.protect = f.items(n, "protect", `"- name: ..." for each of its entries`)
		},
	},
	{
		"rules", "what to look for, and what to do about it; of several the first takes a socket", listForm(refTo("rule")),
		func(f *rulesFile, s *sections, n *yaml.Node) {
			s.rules = f.items(n, "rules", `"- name: ..." for each rule`)
		},
	},
	{
		"overrides", "changes rules of other files, or built-in ones, by their names", namedForm(ruleNameForm, refTo("override")),
		func(_ *rulesFile, s *sections, n *yaml.Node) { s.overrides = n },
	},
}

func (f *rulesFile) parseVersion(s *sections, n *yaml.Node) {
	s.version = true
	if n.Value != "1" {
		f.errorf(idNoVersion, n, "version %s is not known: write version: 1", nodeKind(n))
	}
}

// parse reads the structure of a file. Errors go to the problems, and the rest is read
// nevertheless, to report everything at once.
func (f *rulesFile) parse(catalog, notifiers Catalog) {
	f.rules.catalog, f.notifiers.catalog = catalog, notifiers
	root, ok := f.parseYAML()
	if !ok {
		return
	}
	var s sections
	fileKeys.fields(f.reader, root, "the file", f, &s)
	if !s.version && root.Kind == yaml.MappingNode {
		f.errorf(idNoVersion, root, "no version: write \"version: 1\" at the top")
	}
	f.names.checkNames()
	for _, n := range s.protect {
		f.rules.parseProtect(n)
	}
	// Only now: rules without limits of their own take those of defaults.
	for _, n := range s.rules {
		f.rules.parseRule(n)
	}
	if s.overrides != nil {
		f.rules.parseOverrides(s.overrides)
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
