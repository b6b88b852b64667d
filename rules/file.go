package rules

import (
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// rulesFile is one parsed file; its conditions are not compiled yet.
type rulesFile struct {
	reader
	path    string // for relative names of sets' files
	netns   []string
	vars    map[string]*Var
	varsAt  map[string]*yaml.Node
	broken  map[string]bool // names whose value is wrong
	sets    map[string]*Set
	lists   map[string]*Set // that were read from files, by path; nil for what is wrong
	macros  map[string]*yaml.Node
	limits  Limits
	breaker Breaker // what is written of it, zero for what is not
	// notifiers are the entries of actions.
	notifiers map[string]Notifier
	zone      *time.Location
	protect   []rawProtect
	rules     []rawRule
	readSet   func(path string) (*Set, error)
	// checkSecret says what is wrong with a file that holds a secret, and what is
	// unwise.
	checkSecret func(path string) (warning string, err error)
	warnings    Problems
	notes       problemList // what is valid in conditions, and maybe not meant
	// setFiles are the sets that are read from files, and grown those with what a
	// younger generation has added to their files.
	setFiles map[string]setFile
	grown    map[string]*Set
	reported map[string]bool // sets that are empty and must not be
	grownSet func(path string) *Set
}

type rawProtect struct {
	name   string
	at     *yaml.Node
	when   *yaml.Node
	during []Window
}

type rawRule struct {
	at           *yaml.Node
	nameAt       *yaml.Node
	name         string
	description  string
	when, unless *yaml.Node
	group        []GroupKey
	having       *yaml.Node
	hold         time.Duration
	during       []Window
	soak         time.Duration
	canary       float64
	mode         Mode
	then         []rawRung
	hasThen      bool
	limits       Limits
	labels       map[string]string
	notify       []*yaml.Node
}

type rawRung struct {
	at     *yaml.Node
	action string
	spec   ActionSpec
	params map[string]any
	bound  any
	wait   time.Duration
	cond   *yaml.Node
	// results are the outcomes that it can have, nil if they are not known.
	results []string
}

// defaultLimits are those of rules where nothing else is written (DESIGN: they
// suit a small server).
var defaultLimits = Limits{PerCycle: 100, Cooldown: 5 * time.Minute, MaxCollateral: -1}

// parseFile reads the structure of a file. What is wrong goes to the problems;
// the rest is there nevertheless, so that everything is reported at once.
func (f *rulesFile) parse(catalog, notifiers Catalog) {
	f.notifiers = map[string]Notifier{}
	f.vars, f.varsAt, f.broken = map[string]*Var{}, map[string]*yaml.Node{}, map[string]bool{}
	f.sets, f.macros, f.lists = BuiltinSets(), map[string]*yaml.Node{}, map[string]*Set{}
	f.setFiles, f.grown, f.reported = map[string]setFile{}, map[string]*Set{}, map[string]bool{}
	f.limits, f.zone = defaultLimits, time.Local
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
				f.errorf(n, "version %s is not known: write version: 1", nodeKind(n))
			}
		},
		"netns":    f.parseNetNS,
		"timezone": f.parseZone,
		"vars":     f.parseVars,
		"sets":     f.parseSets,
		"macros":   f.parseMacros,
		"defaults": f.parseDefaults,
		"actions":  func(n *yaml.Node) { f.parseNotifiers(n, notifiers) },
		"protect":  func(n *yaml.Node) { protect = f.items(n, "protect", `"- name: ..." for each of its entries`) },
		"rules":    func(n *yaml.Node) { rules = f.items(n, "rules", `"- name: ..." for each rule`) },
	})
	if !version && root.Kind == yaml.MappingNode {
		f.errorf(root, "no version: write \"version: 1\" at the top")
	}
	f.checkNames()
	for _, n := range protect {
		f.parseProtect(n)
	}
	// Only now: rules without limits of their own have those of defaults.
	for _, n := range rules {
		f.parseRule(n, catalog)
	}
}

// maxNetNS bounds the names of network namespaces in a file: each rule is asked
// about each of them.
const maxNetNS = 256

func (f *rulesFile) parseNetNS(n *yaml.Node) {
	if n.Kind == yaml.SequenceNode {
		if len(n.Content) > maxNetNS {
			f.errorf(n, "netns has %d names, at most %d: write netns: all", len(n.Content), maxNetNS)
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
		f.errorf(n, "netns is host, all, or a list of names: write netns: [a, b]")
		return
	}
	if name, ok := f.text(n, "netns"); ok {
		f.netns = []string{name}
	}
}

func (f *rulesFile) parseProtect(n *yaml.Node) {
	p := rawProtect{at: n}
	before := f.problems.seen
	f.fields(n, "an entry of protect", map[string]func(*yaml.Node){
		"name":        func(n *yaml.Node) { p.name, _ = f.text(n, "name") },
		"description": func(n *yaml.Node) { f.text(n, "description") },
		"when":        func(n *yaml.Node) { p.when = n },
		"during":      func(n *yaml.Node) { p.during = f.windows(n) },
	})
	if f.problems.seen > before {
		return
	}
	if p.name == "" {
		f.errorf(n, "an entry of protect needs a name: write name: ssh")
	}
	if p.when == nil && len(p.during) > 0 {
		p.when = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true", Line: n.Line, Column: n.Column}
	}
	if p.when == nil {
		f.errorf(n, "an entry of protect needs a condition: write when: port == 22")
		return
	}
	f.protect = append(f.protect, p)
}

func (f *rulesFile) parseRule(n *yaml.Node, catalog Catalog) {
	if n.Kind != yaml.MappingNode {
		f.entries(n, "a rule") // says so
		return
	}
	r := rawRule{at: n, nameAt: n, mode: ModeEnforce, limits: f.limits}
	before := f.problems.seen
	f.fields(n, "a rule", map[string]func(*yaml.Node){
		"name":        func(n *yaml.Node) { r.name, _ = f.text(n, "name"); r.nameAt = n },
		"description": func(n *yaml.Node) { r.description, _ = f.text(n, "description") },
		"when":        func(n *yaml.Node) { r.when = n },
		"unless":      func(n *yaml.Node) { r.unless = n },
		"for":         func(n *yaml.Node) { r.hold = f.duration(n, "for") },
		"group":       func(n *yaml.Node) { r.group = f.parseGroup(n) },
		"having":      func(n *yaml.Node) { r.having = n },
		"during":      func(n *yaml.Node) { r.during = f.windows(n) },
		"soak":        func(n *yaml.Node) { r.soak = f.duration(n, "soak") },
		"canary":      func(n *yaml.Node) { r.canary = f.share(n, "canary") },
		"mode": func(n *yaml.Node) {
			r.mode = Mode(f.oneOf(n, "mode", string(ModeDisabled), string(ModeObserve), string(ModeEnforce)))
		},
		"then": func(n *yaml.Node) {
			r.hasThen = true
			for _, k := range f.items(n, "then", "then: ["+catalog.example(n)+"]") {
				f.parseRung(k, catalog, &r)
			}
		},
		"notify": func(n *yaml.Node) { r.notify = f.items(n, "notify", "notify: ["+scalarOr(n, "NAME")+"]") },
		"limits": func(n *yaml.Node) { r.limits = f.parseLimits(n, r.limits) },
		"labels": func(n *yaml.Node) { r.labels = f.parseLabels(n) },
	})
	switch {
	case r.name == "":
		f.errorf(n, "a rule needs a name: write name: close-wait")
	case !validRuleName(r.name):
		f.errorf(r.nameAt, "a rule's name is made of letters, digits, -, _ and ., not %q%s", r.name, asName(r.name, "-"))
	}
	if r.when == nil {
		f.errorf(n, "rule %q needs a condition: write when: state == \"CLOSE_WAIT\"", r.name)
	}
	if (r.group == nil) != (r.having == nil) {
		f.errorf(n, "rule %q: group and having belong together: write group: pid, having: count > 100", r.name)
	}
	if !r.hasThen && r.mode == ModeEnforce {
		f.errorf(n, "rule %q needs an action: write then: [destroy], or mode: observe", r.name)
	}
	if r.hasThen && len(r.then) == 0 && r.mode == ModeEnforce && f.problems.seen == before {
		f.errorf(n, "rule %q has no action: write then: [destroy], or mode: observe", r.name)
	}
	process := ""
	for _, rung := range r.then {
		spec, _ := catalog.find(rung.action)
		if spec.OnProcess {
			process = rung.action
		}
		if spec.Single && process != "" {
			f.errorf(rung.at, "%s is for one socket and cannot follow %s, which is for a process: put it first, or into a rule of its own", rung.action, process)
		}
		if spec.NeedsCooldown && r.limits.Cooldown <= 0 {
			f.errorf(rung.at, "%s needs a cool-down: write limits: {cooldown: 10m}", spec.Name)
		}
	}
	f.rules = append(f.rules, r)
}

// asName says how a name is written without what it must not have, "" if nothing is left
// of it.
func asName(name, instead string) string {
	var b strings.Builder
	for _, part := range strings.FieldsFunc(name, func(c rune) bool { return !strings.ContainsRune(nameRunes, c) }) {
		if b.Len() > 0 {
			b.WriteString(instead)
		}
		b.WriteString(part)
	}
	if b.Len() == 0 || strings.ContainsAny(b.String()[:1], "0123456789") || b.Len() > maxQuoted {
		return ""
	}
	return ": write " + b.String()
}

const nameRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"

func validRuleName(name string) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.' {
			return false
		}
	}
	return len(name) <= 100
}

func (f *rulesFile) parseLabels(n *yaml.Node) map[string]string {
	entries, _ := f.entries(n, "labels")
	labels := map[string]string{}
	for _, e := range entries {
		if v, ok := f.text(e.value, "a label"); ok {
			labels[e.key.Value] = v
		}
	}
	return labels
}
