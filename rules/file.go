package rules

import (
	"slices"
	"time"

	"go.yaml.in/yaml/v4"
)

// rulesFile is one parsed file; its conditions are not compiled yet.
type rulesFile struct {
	reader
	dir     string // for relative names of sets' files
	netns   []string
	vars    map[string]*Var
	varsAt  map[string]*yaml.Node
	broken  map[string]bool // names whose value is wrong
	sets    map[string]*Set
	macros  map[string]*yaml.Node
	limits  Limits
	breaker Breaker
	protect []rawProtect
	rules   []rawRule
	readSet func(path string) (string, error)
	// overridden names the variables that the command line set.
	overridden []string
}

type rawProtect struct {
	name string
	at   *yaml.Node
	when *yaml.Node
}

type rawRule struct {
	at           *yaml.Node
	nameAt       *yaml.Node
	name         string
	description  string
	when, unless *yaml.Node
	hold         time.Duration
	mode         Mode
	then         []rawRung
	hasThen      bool
	limits       Limits
	labels       map[string]string
}

type rawRung struct {
	at     *yaml.Node
	action string
	params map[string]any
	wait   time.Duration
	cond   *yaml.Node
}

// The defaults of limits and of the breaker (DESIGN: they suit a small server).
var (
	defaultLimits  = Limits{PerCycle: 100, Cooldown: 5 * time.Minute}
	defaultBreaker = Breaker{Count: 500, Share: 0.30, ShareMin: 50}
)

// parseFile reads the structure of a file. What is wrong goes to the problems;
// the rest is there nevertheless, so that everything is reported at once.
func (f *rulesFile) parse(catalog Catalog) {
	f.vars, f.varsAt, f.broken = map[string]*Var{}, map[string]*yaml.Node{}, map[string]bool{}
	f.sets, f.macros = BuiltinSets(), map[string]*yaml.Node{}
	f.limits, f.breaker = defaultLimits, defaultBreaker
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
				f.errorf(n, "version %s is not known: this program reads version 1", nodeKind(n))
			}
		},
		"netns":    f.parseNetNS,
		"vars":     f.parseVars,
		"sets":     f.parseSets,
		"macros":   f.parseMacros,
		"defaults": f.parseDefaults,
		"protect":  func(n *yaml.Node) { protect = f.items(n, "protect") },
		"rules":    func(n *yaml.Node) { rules = f.items(n, "rules") },
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

func (f *rulesFile) parseNetNS(n *yaml.Node) {
	if n.Kind == yaml.SequenceNode {
		for _, k := range n.Content {
			if name, ok := f.text(k, "a name of netns"); ok {
				f.netns = append(f.netns, name)
			}
		}
		return
	}
	if name, ok := f.text(n, "netns"); ok {
		f.netns = []string{name}
	}
}

func (f *rulesFile) parseDefaults(n *yaml.Node) {
	f.fields(n, "defaults", map[string]func(*yaml.Node){
		"limits":  func(n *yaml.Node) { f.limits = f.parseLimits(n, f.limits) },
		"breaker": f.parseBreaker,
	})
}

func (f *rulesFile) parseLimits(n *yaml.Node, l Limits) Limits {
	f.fields(n, "limits", map[string]func(*yaml.Node){
		"per_cycle": func(n *yaml.Node) { l.PerCycle = f.count(n, "per_cycle") },
		"cooldown":  func(n *yaml.Node) { l.Cooldown = f.duration(n, "cooldown") },
	})
	return l
}

func (f *rulesFile) parseBreaker(n *yaml.Node) {
	f.fields(n, "breaker", map[string]func(*yaml.Node){
		"count": func(n *yaml.Node) { f.breaker.Count = f.count(n, "count") },
		"share": func(n *yaml.Node) {
			share, err := parseShare(n.Value)
			if n.Kind != yaml.ScalarNode || err != nil {
				f.errorf(n, "share is a part of all sockets, such as 30%%, not %s", nodeKind(n))
				return
			}
			f.breaker.Share = share
		},
	})
}

func (f *rulesFile) parseProtect(n *yaml.Node) {
	p := rawProtect{at: n}
	before := len(*f.problems)
	f.fields(n, "protect", map[string]func(*yaml.Node){
		"name":        func(n *yaml.Node) { p.name, _ = f.text(n, "name") },
		"description": func(n *yaml.Node) { f.text(n, "description") },
		"when":        func(n *yaml.Node) { p.when = n },
	})
	if len(*f.problems) > before {
		return
	}
	if p.name == "" {
		f.errorf(n, "an entry of protect needs a name")
	}
	if p.when == nil {
		f.errorf(n, "an entry of protect needs a condition: when")
		return
	}
	f.protect = append(f.protect, p)
}

func (f *rulesFile) parseRule(n *yaml.Node, catalog Catalog) {
	r := rawRule{at: n, nameAt: n, mode: ModeEnforce, limits: f.limits}
	before := len(*f.problems)
	f.fields(n, "a rule", map[string]func(*yaml.Node){
		"name":        func(n *yaml.Node) { r.name, _ = f.text(n, "name"); r.nameAt = n },
		"description": func(n *yaml.Node) { r.description, _ = f.text(n, "description") },
		"when":        func(n *yaml.Node) { r.when = n },
		"unless":      func(n *yaml.Node) { r.unless = n },
		"for":         func(n *yaml.Node) { r.hold = f.duration(n, "for") },
		"mode": func(n *yaml.Node) {
			r.mode = Mode(f.oneOf(n, "mode", string(ModeDisabled), string(ModeObserve), string(ModeEnforce)))
		},
		"then": func(n *yaml.Node) {
			r.hasThen = true
			for _, k := range f.items(n, "then") {
				f.parseRung(k, catalog, &r)
			}
		},
		"limits": func(n *yaml.Node) { r.limits = f.parseLimits(n, r.limits) },
		"labels": func(n *yaml.Node) { r.labels = f.parseLabels(n) },
	})
	if n.Kind != yaml.MappingNode {
		return
	}
	switch {
	case r.name == "":
		f.errorf(n, "a rule needs a name")
	case !validRuleName(r.name):
		f.errorf(r.nameAt, "a rule's name is made of letters, digits, -, _ and ., not %q", r.name)
	}
	if r.when == nil {
		f.errorf(n, "rule %q needs a condition: when", r.name)
	}
	if !r.hasThen && r.mode == ModeEnforce {
		f.errorf(n, "rule %q needs an action: then: [destroy], or mode: observe", r.name)
	}
	if r.hasThen && len(r.then) == 0 && r.mode == ModeEnforce && len(*f.problems) == before {
		f.errorf(n, "rule %q has no action: then: [destroy], or mode: observe", r.name)
	}
	for _, rung := range r.then {
		if spec, _ := catalog.find(rung.action); spec.NeedsCooldown && r.limits.Cooldown <= 0 {
			f.errorf(rung.at, "%s needs a cool-down: limits: {cooldown: 10m}", spec.Name)
		}
	}
	f.rules = append(f.rules, r)
}

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

// parseRung reads destroy, {signal: TERM, wait: 10s} or {destroy: {udp: true}}.
func (f *rulesFile) parseRung(n *yaml.Node, catalog Catalog, rule *rawRule) {
	rung := rawRung{at: n, params: map[string]any{}}
	if n.Kind == yaml.ScalarNode {
		rung.action = n.Value
		f.checkRung(&rung, catalog, rule)
		return
	}
	entries, ok := f.entries(n, "an action")
	if !ok {
		return
	}
	i := slices.IndexFunc(entries, func(e entry) bool { _, ok := catalog.find(e.key.Value); return ok })
	if i < 0 {
		name := "nothing"
		if len(entries) > 0 {
			name = entries[0].key.Value
		}
		f.errorf(n, "%s", catalog.unknown(name))
		return
	}
	rung.action = entries[i].key.Value
	spec, _ := catalog.find(rung.action)
	f.mainParams(entries[i].value, &spec, &rung)
	for k, e := range entries {
		switch {
		case k == i:
		case e.key.Value == "wait":
			rung.wait = f.duration(e.value, "wait")
		case e.key.Value == "if":
			rung.cond = e.value
		default:
			f.param(e, &spec, &rung)
		}
	}
	f.checkRung(&rung, catalog, rule)
}

// mainParams reads what stands directly behind the name of the action.
func (f *rulesFile) mainParams(n *yaml.Node, spec *ActionSpec, rung *rawRung) {
	switch {
	case n.Kind == yaml.MappingNode:
		entries, _ := f.entries(n, spec.Name)
		for _, e := range entries {
			f.param(e, spec, rung)
		}
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
	case n.Kind == yaml.ScalarNode && spec.Main != "":
		key := *n
		key.Value = spec.Main
		f.param(entry{&key, n}, spec, rung)
	default:
		f.errorf(n, "%s takes its parameters as {name: value}, not %s", spec.Name, nodeKind(n))
	}
}

func (f *rulesFile) param(e entry, spec *ActionSpec, rung *rawRung) {
	p, ok := spec.param(e.key.Value)
	if !ok {
		if _, isAction := spec.param(e.key.Value); !isAction && len(spec.Params) == 0 {
			f.errorf(e.key, "%s has no parameter %q; besides it a rung has wait and if", spec.Name, e.key.Value)
			return
		}
		f.errorf(e.key, "%s has no parameter %q%s: it has %s, besides wait and if", spec.Name, e.key.Value,
			Suggest(e.key.Value, append(spec.paramNames(), "wait", "if")), choices(spec.paramNames()))
		return
	}
	if _, twice := rung.params[p.Name]; twice {
		f.errorf(e.key, "%s is given twice", p.Name)
		return
	}
	what := spec.Name + " " + p.Name
	switch p.Type {
	case ParamBool:
		rung.params[p.Name] = f.oneOf(e.value, what, "true", "false") == "true"
	case ParamNumber:
		rung.params[p.Name] = float64(f.count(e.value, what))
	case ParamDuration:
		rung.params[p.Name] = f.duration(e.value, what)
	case ParamString:
		if text, ok := f.text(e.value, what); ok {
			rung.params[p.Name] = text
		}
	}
}

func (f *rulesFile) checkRung(rung *rawRung, catalog Catalog, rule *rawRule) {
	spec, ok := catalog.find(rung.action)
	if !ok {
		f.errorf(rung.at, "%s", catalog.unknown(rung.action))
		return
	}
	if err := spec.Check(rung.params); err != nil {
		f.errorf(rung.at, "%s: %v", spec.Name, err)
		return
	}
	rule.then = append(rule.then, *rung)
}
