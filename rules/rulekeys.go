package rules

import "go.yaml.in/yaml/v4"

var protectKeys = keys[*ruleSection, *rawProtect]{
	{"name", "what findings call it", filledForm, func(rs *ruleSection, p *rawProtect, n *yaml.Node) { p.name, _ = rs.text(n, "name") }},
	{"description", "why it is there", textForm, func(rs *ruleSection, _ *rawProtect, n *yaml.Node) { rs.text(n, "description") }},
	{"when", "spares sockets unless it is false of them", conditionForm, func(_ *ruleSection, p *rawProtect, n *yaml.Node) { p.when = n }},
	{
		"during", "windows of the day in which it holds, as \"01:00-03:30\"", windowsForm,
		func(rs *ruleSection, p *rawProtect, n *yaml.Node) { p.during = rs.defaults.windows(n) },
	},
}

var ruleKeys = keys[*ruleSection, *rawRule]{
	{"name", "unique over all files", ruleNameForm, func(rs *ruleSection, r *rawRule, n *yaml.Node) { r.name, _ = rs.text(n, "name"); r.nameAt = n }},
	{"description", "what the rule is for", textForm, func(rs *ruleSection, r *rawRule, n *yaml.Node) { r.description, _ = rs.text(n, "description") }},
	{"when", "the rule takes a socket of which this is true", conditionForm, func(_ *ruleSection, r *rawRule, n *yaml.Node) { r.when = n }},
	{"unless", "an exception: spares sockets unless it is false of them", conditionForm, func(_ *ruleSection, r *rawRule, n *yaml.Node) { r.unless = n }},
	{"for", "how long it must have held without a break", durationForm, func(rs *ruleSection, r *rawRule, n *yaml.Node) { r.hold = rs.duration(n, "for") }},
	{
		"group", "decides on the sockets together that have this in common",
		anyOfForms(oneOfForm(groupKeys...), filledList(oneOfForm(groupKeys...)).with("uniqueItems", true)),
		func(rs *ruleSection, r *rawRule, n *yaml.Node) { r.group = rs.parseGroup(n) },
	},
	{"having", "what must be true of the group, as count > 500", conditionForm, func(_ *ruleSection, r *rawRule, n *yaml.Node) { r.having = n }},
	{
		"keep", "how many sockets of each group to leave alone", countForm,
		func(rs *ruleSection, r *rawRule, n *yaml.Node) { r.keep, r.keepAt = rs.count(n, "keep"), n },
	},
	{
		"order", "which sockets keep keeps", oneOfForm(orders...),
		func(rs *ruleSection, r *rawRule, n *yaml.Node) {
			r.order, r.orderAt = Order(rs.oneOf(n, "order", orders...)), n
		},
	},
	{
		"during", "windows of the day in which the rule may act, as \"01:00-03:30\"", windowsForm,
		func(rs *ruleSection, r *rawRule, n *yaml.Node) { r.during = rs.defaults.windows(n) },
	},
	{
		"soak", "how long it only observes after it appeared or changed", durationForm,
		func(rs *ruleSection, r *rawRule, n *yaml.Node) { r.soak = rs.duration(n, "soak") },
	},
	{
		"canary", "acts on this part of what it takes and observes the rest, as 5%", shareForm,
		func(rs *ruleSection, r *rawRule, n *yaml.Node) { r.canary = rs.defaults.share(n, "canary") },
	},
	{
		"mode", "enforce (the default) acts in live runs, observe only reports, disabled does neither", oneOfForm(modes...),
		func(rs *ruleSection, r *rawRule, n *yaml.Node) { r.mode = Mode(rs.oneOf(n, "mode", modes...)) },
	},
	{"then", "the ladder: what to do, and what next if that did not work", listForm(refTo("rung")), (*ruleSection).parseThen},
	{
		"notify", "names under actions that get a message", listForm(filledForm),
		func(rs *ruleSection, r *rawRule, n *yaml.Node) {
			r.notify = rs.items(n, "notify", "notify: ["+scalarOr(n, "NAME")+"]")
		},
	},
	{"limits", "how much it may do", refTo("limits"), func(rs *ruleSection, r *rawRule, n *yaml.Node) { r.limits = rs.defaults.parseLimits(n, r.limits) }},
	{
		"labels", "words of your own, which reports and messages repeat",
		schema{"type": "object", "additionalProperties": textForm},
		func(rs *ruleSection, r *rawRule, n *yaml.Node) { r.labels = rs.parseLabels(n) },
	},
}

func (rs *ruleSection) parseThen(r *rawRule, n *yaml.Node) {
	r.hasThen = true
	for _, k := range rs.items(n, "then", "then: ["+rs.catalog.example(n)+"]") {
		rs.parseRung(k, r)
	}
}
