package rules

import (
	"time"

	"go.yaml.in/yaml/v4"
)

// ruleSection reads the sections rules and protect.
type ruleSection struct {
	*reader
	defaults *defaults
	catalog  Catalog
	rules    []rawRule
	protect  []rawProtect
	// overrides are what the file changes about rules of others.
	overrides []rawOverride
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
	keep         int
	keepAt       *yaml.Node
	order        Order
	orderAt      *yaml.Node
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
	// results are the possible outcomes, nil if they are not known.
	results []string
}

func (rs *ruleSection) parseProtect(n *yaml.Node) {
	p := rawProtect{at: n}
	before := rs.problems.seen
	protectKeys.fields(rs.reader, n, "an entry of protect", rs, &p)
	if rs.problems.seen > before {
		return
	}
	if p.name == "" {
		rs.errorf(idMissing, n, "an entry of protect needs a name: write name: ssh")
	}
	if p.when == nil && len(p.during) > 0 {
		p.when = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: "true", Line: n.Line, Column: n.Column}
	}
	if p.when == nil {
		rs.errorf(idMissing, n, "an entry of protect needs a condition: write when: port == 22")
		return
	}
	rs.protect = append(rs.protect, p)
}

func (rs *ruleSection) parseRule(n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		rs.entries(n, "a rule") // says so
		return
	}
	r := rawRule{at: n, nameAt: n, mode: ModeEnforce, limits: rs.defaults.limits}
	before := rs.problems.seen
	ruleKeys.fields(rs.reader, n, "a rule", rs, &r)
	rs.checkRule(&r, before)
	rs.checkLadder(&r)
	rs.rules = append(rs.rules, r)
}

// checkRule says what the rule lacks. Before is how many problems there were before.
func (rs *ruleSection) checkRule(r *rawRule, before int) {
	switch {
	case r.name == "":
		rs.errorf(idMissing, r.at, "a rule needs a name: write name: close-wait")
	case !validRuleName(r.name):
		rs.errorf(idBadName, r.nameAt, "a rule's name is made of letters, digits, -, _ and ., not %q%s", r.name, asName(r.name, "-"))
	}
	if r.when == nil {
		rs.errorf(idMissing, r.at, "rule %q needs a condition: write when: state == \"CLOSE_WAIT\"", r.name)
	}
	rs.checkKeep(r)
	if r.keepAt == nil && (r.group == nil) != (r.having == nil) {
		rs.errorf(idMissing, r.at, "rule %q: group and having belong together: write group: pid, having: count > 100", r.name)
	}
	if !r.hasThen && r.mode == ModeEnforce {
		rs.errorf(idMissing, r.at, "rule %q needs an action: write then: [destroy], or mode: observe", r.name)
	}
	if r.hasThen && len(r.then) == 0 && r.mode == ModeEnforce && rs.problems.seen == before {
		rs.errorf(idMissing, r.at, "rule %q has no action: write then: [destroy], or mode: observe", r.name)
	}
}

// checkKeep reports what cannot stand with keep, or not without it.
func (rs *ruleSection) checkKeep(r *rawRule) {
	if r.keepAt == nil {
		if r.orderAt != nil {
			rs.errorf(idMissing, r.orderAt, "rule %q: order says what keep keeps: write keep: 100, order: %s", r.name, r.order)
		}
		return
	}
	if r.order == "" {
		r.order = OrderOldest
	}
	if r.group == nil {
		rs.errorf(idMissing, r.keepAt, "rule %q: keep is for each group: write group: remote_addr, keep: %d", r.name, max(1, r.keep))
	}
	for _, rung := range r.then {
		if spec, _ := rs.catalog.find(rung.action); spec.OnProcess {
			rs.errorf(idLadderOrder, rung.at, "rule %q: keep spares some sockets, and %s is for the process with all of them: write having: count > %d",
				r.name, rung.action, max(1, r.keep))
		}
	}
}

// checkLadder reports actions that cannot stand where they do.
func (rs *ruleSection) checkLadder(r *rawRule) {
	process := ""
	for _, rung := range r.then {
		spec, _ := rs.catalog.find(rung.action)
		if spec.OnProcess {
			process = rung.action
		}
		if spec.Single && process != "" {
			rs.errorf(idLadderOrder, rung.at, "%s is for one socket and cannot follow %s, which is for a process: put it first, or into a rule of its own",
				rung.action, process)
		}
		if spec.NeedsCooldown && r.limits.Cooldown <= 0 {
			rs.errorf(idNeedsCooldown, rung.at, "%s needs a cool-down: write limits: {cooldown: 10m}", spec.Name)
		}
	}
}

func (rs *ruleSection) parseLabels(n *yaml.Node) map[string]string {
	entries, _ := rs.entries(n, "labels")
	labels := map[string]string{}
	for _, e := range entries {
		if v, ok := rs.text(e.value, "a label"); ok {
			labels[e.key.Value] = v
		}
	}
	return labels
}
