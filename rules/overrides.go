package rules

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Overridden says what another file has changed about a rule.
type Overridden struct {
	File string
	Line int
	Keys []string // what it sets, in the order in which it does
}

// String names the place and the keys: "site.yaml:7: mode, limits".
func (o *Overridden) String() string {
	return fmt.Sprintf("%s:%d: %s", o.File, o.Line, strings.Join(o.Keys, ", "))
}

// rawOverride is an entry of overrides.
type rawOverride struct {
	name   string
	at     *yaml.Node // the name
	keys   []string
	mode   Mode
	modeAt *yaml.Node // nil if it does not set the mode
	unless *yaml.Node
	limits *yaml.Node
	labels map[string]string
	notify []*yaml.Node
	quiet  bool // notify is there, maybe to name nobody
}

// overrideKeys are what an override can change. Mode and notify replace those of the rule,
// limits and labels only those that they name; unless is one more exception.
var overrideKeys = keys[*ruleSection, *rawOverride]{
	{
		"mode", "replaces that of the rule: enforce, observe, or disabled", oneOfForm(modes...),
		func(rs *ruleSection, o *rawOverride, n *yaml.Node) {
			o.mode, o.modeAt = Mode(rs.oneOf(n, "mode", modes...)), n
		},
	},
	{"unless", "one more exception: spares sockets unless it is false of them", conditionForm, func(_ *ruleSection, o *rawOverride, n *yaml.Node) { o.unless = n }},
	{
		"limits", "replaces those limits of the rule that it names", refTo("limits"),
		func(rs *ruleSection, o *rawOverride, n *yaml.Node) {
			o.limits = n
			rs.defaults.parseLimits(n, Limits{}) // says what is wrong with it, whatever the rule has
		},
	},
	{
		"labels", "adds these to the labels of the rule",
		schema{"type": "object", "additionalProperties": textForm},
		func(rs *ruleSection, o *rawOverride, n *yaml.Node) { o.labels = rs.parseLabels(n) },
	},
	{
		"notify", "replaces who gets a message: names under actions", listForm(filledForm),
		func(rs *ruleSection, o *rawOverride, n *yaml.Node) {
			o.notify, o.quiet = rs.items(n, "notify", "notify: ["+scalarOr(n, "NAME")+"]"), true
		},
	},
}

// parseOverrides reads what the file changes about rules of other files.
func (rs *ruleSection) parseOverrides(n *yaml.Node) {
	entries, _ := rs.entries(n, "overrides")
	for _, e := range entries {
		o := rawOverride{name: e.key.Value, at: e.key}
		overrideKeys.fields(rs.reader, e.value, "an override", rs, &o)
		if e.value.Kind == yaml.MappingNode {
			for i := 0; i < len(e.value.Content); i += 2 {
				o.keys = append(o.keys, e.value.Content[i].Value)
			}
			if len(e.value.Content) == 0 {
				rs.errorf(idMissing, e.key, "the override of %q changes nothing: write mode, unless, limits, labels or notify", o.name)
			}
		}
		rs.overrides = append(rs.overrides, o)
	}
}

// override is one of a file whose conditions can be compiled.
type override struct {
	*rawOverride
	by *builder
}

// overridesOf returns the overrides of all files by the names of rules. It reports those of
// rules that do not exist, and all but the first of one rule.
func overridesOf(builders []*builder) map[string]override {
	var rules []string
	for _, b := range builders {
		for i := range b.rules.rules {
			rules = append(rules, b.rules.rules[i].name)
		}
	}
	all := map[string]override{}
	for _, b := range builders {
		for i := range b.rules.overrides {
			o := &b.rules.overrides[i]
			first, twice := all[o.name]
			switch {
			case !slices.Contains(rules, o.name) && b.problems.full():
				b.errorf(idUnknownRule, o.at, "no rule")
			case !slices.Contains(rules, o.name):
				hint := b.suggest(o.name, rules)
				if hint == "" {
					hint = ": an override is for a rule of a file that is read with this one, or a built-in one with --rules builtin"
				}
				b.errorf(idUnknownRule, o.at, "no rule %q to override%s", o.name, hint)
			case twice:
				b.errorf(idDuplicateName, o.at, "rule %q is already overridden at %s:%d: an override can be in one place only",
					o.name, first.by.src.name, first.at.Line)
			default:
				all[o.name] = override{o, b}
			}
		}
	}
	return all
}

// change changes what the rule says before it is compiled.
func (o *override) change(r *rawRule) {
	by := o.by
	if o.modeAt != nil {
		r.mode = o.mode
		if o.mode == ModeEnforce && len(r.then) == 0 {
			by.errorf(idMissing, o.modeAt, "rule %q has no action that it could enforce: write then in the rule itself", r.name)
		}
	}
	if o.limits != nil {
		r.limits = by.defaults.parseLimits(o.limits, r.limits)
		for _, rung := range r.then {
			if rung.spec.NeedsCooldown && r.limits.Cooldown <= 0 {
				by.errorf(idNeedsCooldown, o.limits, "%s of rule %q needs a cool-down: write limits: {cooldown: 10m}", rung.action, r.name)
			}
		}
	}
	if len(o.labels) > 0 {
		labels := maps.Clone(r.labels)
		if labels == nil {
			labels = map[string]string{}
		}
		maps.Copy(labels, o.labels)
		r.labels = labels
	}
}

// complete adds to the compiled rule what is compiled where the override stands.
func (o *override) complete(rule *Rule) bool {
	by, ok := o.by, true
	if o.unless != nil {
		c := by.cond(o.unless, by.scope)
		if c != nil {
			by.lintSpares(fmt.Sprintf("unless of rule %q", rule.Name), o.unless, c)
		}
		switch {
		case c == nil:
			ok = false
		case rule.Unless == nil:
			rule.Unless = c
		default:
			rule.Unless = rule.Unless.Or(c)
		}
		if rule.Mode != ModeDisabled {
			by.names.files.mustHold(c, fmt.Sprintf("unless of rule %q", rule.Name), true)
		}
	}
	if o.quiet {
		rule.Notify = nil
		ok = by.notified(&rawRule{notify: o.notify}, rule) && ok
	}
	rule.Overridden = &Overridden{File: by.src.name, Line: o.at.Line, Keys: o.keys}
	return ok
}
