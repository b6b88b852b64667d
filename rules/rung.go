package rules

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"sockwarden/rules/lang"
)

// parseRung reads destroy, {signal: TERM, wait: 10s} or {destroy: {udp: true}}.
func (rs *ruleSection) parseRung(n *yaml.Node, rule *rawRule) {
	rung := rawRung{at: n, params: map[string]any{}}
	if n.Kind == yaml.ScalarNode {
		rung.action = n.Value
		rs.checkRung(&rung, rule)
		return
	}
	entries, ok := rs.entries(n, "an action")
	if !ok {
		return
	}
	i := slices.IndexFunc(entries, func(e entry) bool { _, ok := rs.catalog.find(e.key.Value); return ok })
	if i < 0 {
		name := "nothing"
		if len(entries) > 0 {
			name = entries[0].key.Value
		}
		rs.errorf(idUnknownAction, n, "%s", rs.catalog.unknown(name))
		return
	}
	rung.action = entries[i].key.Value
	spec, _ := rs.catalog.find(rung.action)
	rs.mainParams(entries[i].value, &spec, &rung)
	for k, e := range entries {
		own, ok := rungKeys.find(e.key.Value)
		switch {
		case k == i:
		case ok:
			own.read(rs, &rung, e.value)
		default:
			rs.param(e, &spec, &rung, besides...)
		}
	}
	rs.checkRung(&rung, rule)
}

// mainParams reads what follows the name of the action directly.
func (rs *ruleSection) mainParams(n *yaml.Node, spec *ActionSpec, rung *rawRung) {
	switch {
	case n.Kind == yaml.MappingNode:
		entries, _ := rs.entries(n, spec.Name)
		for _, e := range entries {
			rs.param(e, spec, rung, besides...)
		}
	case n.Kind == yaml.ScalarNode && n.Tag == "!!null":
	case n.Kind == yaml.ScalarNode && spec.Main != "":
		key := *n
		key.Value = spec.Main
		rs.param(entry{&key, n}, spec, rung, besides...)
	default:
		rs.errorf(idWrongForm, n, "%s takes its parameters as {name: value}, not %s: without any write %s alone", spec.Name, nodeKind(n), spec.Name)
	}
}

// rungKeys are the keys of a rung that are not parameters of its action.
var rungKeys = keys[*ruleSection, *rawRung]{
	{"wait", "how long it may take to succeed", durationForm, func(rs *ruleSection, r *rawRung, n *yaml.Node) { r.wait = rs.duration(n, "wait") }},
	{
		"if", "must be true for it to be done; can read result, the outcome of the rung before", conditionForm,
		func(_ *ruleSection, r *rawRung, n *yaml.Node) { r.cond = n },
	},
}

var besides = rungKeys.names()

// param reads a parameter of a plugin; besides are the other keys that can stand in its
// place.
func (r *reader) param(e entry, spec *ActionSpec, rung *rawRung, besides ...string) {
	p, ok := spec.param(e.key.Value)
	if why := spec.Never[e.key.Value]; !ok && why != "" {
		r.errorf(idUnknownParameter, e.key, "%s has no parameter %q: %s", spec.Name, e.key.Value, why)
		return
	}
	if !ok {
		others := strings.Join(besides, " and ")
		if len(spec.Params) == 0 {
			r.errorf(idUnknownParameter, e.key, "%s has no parameter %q; besides it a rung has %s", spec.Name, e.key.Value, others)
			return
		}
		r.errorf(idUnknownParameter, e.key, "%s has no parameter %q%s: it has %s, besides %s", spec.Name, e.key.Value,
			r.suggest(e.key.Value, append(spec.paramNames(), besides...)), lang.Choices(spec.paramNames()), others)
		return
	}
	if _, twice := rung.params[p.Name]; twice {
		r.errorf(idDuplicateKey, e.key, "%s is given twice", p.Name)
		return
	}
	what := spec.Name + " " + p.Name
	switch p.Type {
	case ParamBool:
		rung.params[p.Name] = r.oneOf(e.value, what, "true", "false") == "true"
	case ParamNumber:
		rung.params[p.Name] = float64(r.count(e.value, what))
	case ParamDuration:
		rung.params[p.Name] = r.duration(e.value, what)
	case ParamString:
		if text, ok := r.text(e.value, what); ok {
			rung.params[p.Name] = text
		}
	}
}

func (rs *ruleSection) checkRung(rung *rawRung, rule *rawRule) {
	spec, ok := rs.catalog.find(rung.action)
	if !ok {
		rs.errorf(idUnknownAction, rung.at, "%s", rs.catalog.unknown(rung.action))
		return
	}
	var err error
	if rung.bound, err = spec.Bind(rung.params); err != nil {
		rs.errorf(idWrongParameter, rung.at, "%s: %v", spec.Name, err)
		return
	}
	rung.results = spec.Results
	rung.spec = spec
	rule.then = append(rule.then, *rung)
}
