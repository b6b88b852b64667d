package rules

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"sockwarden/rules/lang"
)

// TestExpect is what should have become of a socket of the test, or of those of which a
// condition is true.
type TestExpect struct {
	At     TestPlace
	Socket string // "" if Where selects the sockets
	Where  string // a condition, "" for all
	Rule   string // the rule that decides, "" for any
	RuleAt TestPlace
	// Decision is the decision, "none" or "" for any.
	Decision string
	Reason   string // a part of it
	// Actions are all effects, in order; nil for any.
	Actions []string
	// Count is how many sockets it is about, 0 for all of them.
	Count int
}

// Nobody is the name by which a test expects something of groups without any socket: of a
// host on which nothing listens.
const Nobody = "nobody"

// ExpectNone is the decision about a socket that no rule takes.
const ExpectNone = "none"

// stepParser reads a step of a test.
type stepParser struct {
	*testParser
	test  *Test
	known map[string]bool        // names of sockets
	now   map[string]*TestSocket // the sockets as they are by now
}

var stepKeys = keys[*stepParser, *TestStep]{
	{name: "advance", doc: "how much time passes first", form: durationForm, read: func(p *stepParser, s *TestStep, n *yaml.Node) { s.Advance = p.duration(n, "advance") }},
	{name: "set", doc: "fields of sockets that change then", form: namedForm(textForm, refTo("socket")), read: func(p *stepParser, s *TestStep, n *yaml.Node) { s.Set = p.changes(n) }},
	{name: "add", doc: "sockets that appear then", form: refTo("sockets"), read: func(p *stepParser, s *TestStep, n *yaml.Node) {
		s.Add = p.sockets(n, p.test.defaults, p.known)
		for _, one := range s.Add {
			p.now[one.Name] = one
		}
	}},
	{name: "remove", doc: "names of sockets that are no more", form: listForm(textForm), read: func(p *stepParser, s *TestStep, n *yaml.Node) {
		for _, k := range p.items(n, "remove", "remove: ["+scalarOr(n, "a")+"]") {
			p.knows(k, p.known)
			s.Remove = append(s.Remove, TestName{k.Value, placeOf(k)})
		}
	}},
	{name: "outcomes", doc: "results of effects from here on", form: refTo("outcomes"), read: func(p *stepParser, s *TestStep, n *yaml.Node) { s.Outcomes = p.outcomes(n) }},
	{name: "expect", doc: "what the last look at each socket decided", form: refTo("expect"), read: func(p *stepParser, s *TestStep, n *yaml.Node) { s.Expect, s.Expects = p.expect(n, p.known), true }},
}

func (p *testParser) steps(t *Test, n *yaml.Node, known map[string]bool) {
	nodes := p.items(n, "steps", `"- advance: 10s" for each step`)
	sp := &stepParser{p, t, known, map[string]*TestSocket{}}
	for _, one := range t.Sockets {
		sp.now[one.Name] = one
	}
	for _, k := range nodes {
		s := &TestStep{At: placeOf(k)}
		// In the order in which they come, in whatever order they stand.
		stepKeys.fields(p.reader, inOrder(k), "a step", sp, s)
		if t.From != nil && (s.Set != nil || s.Add != nil || s.Remove != nil || s.Outcomes != nil) {
			p.errorf(idWrongTest, k, "nothing changes in a recording but the time: a step has advance and expect")
		}
		t.Steps = append(t.Steps, s)
	}
	if len(nodes) == 0 || !t.Steps[len(t.Steps)-1].Expects {
		p.errorf(idMissing, n, "the last step expects nothing: add expect: {a: none}")
	}
}

// inOrder is a mapping with its keys in the order of stepKeys.
func inOrder(n *yaml.Node) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return n
	}
	sorted := *n
	pairs := make([][2]*yaml.Node, 0, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		pairs = append(pairs, [2]*yaml.Node{n.Content[i], n.Content[i+1]})
	}
	names := stepKeys.names()
	slices.SortStableFunc(pairs, func(a, b [2]*yaml.Node) int { return slices.Index(names, a[0].Value) - slices.Index(names, b[0].Value) })
	sorted.Content = nil
	for _, pair := range pairs {
		sorted.Content = append(sorted.Content, pair[0], pair[1])
	}
	return &sorted
}

// knows reports a socket that the test does not have.
func (p *testParser) knows(n *yaml.Node, known map[string]bool) bool {
	if n.Kind == yaml.ScalarNode && known[n.Value] {
		return true
	}
	names := sortedKeys(known)
	hint := p.suggest(n.Value, names)
	if hint == "" && len(names) > 0 {
		hint = ": it has " + strings.Join(names[:min(len(names), maxNamed)], ", ")
	}
	p.errorf(idWrongTest, n, "the test has no socket %s%s", nodeKind(n), hint)
	return false
}

// maxNamed is how many sockets a message names at most.
const maxNamed = 10

// expect reads {a: pending, b: {rule: .., decision: ..}}, or a list of conditions.
func (p *testParser) expect(n *yaml.Node, known map[string]bool) (all []*TestExpect) {
	if n.Kind == yaml.SequenceNode {
		for _, k := range n.Content {
			all = append(all, p.expected(k, "", whereKeys)...)
		}
		return all
	}
	entries, _ := p.entries(n, "expect")
	if p.recorded && len(entries) > 0 {
		p.errorf(idWrongTest, n, "sockets of a recording have no names: write a list that selects some, as expect: [{where: 'port == 80', decision: act}]")
		return nil
	}
	for _, e := range entries {
		if e.key.Value != Nobody && !p.knows(e.key, known) {
			continue
		}
		values := []*yaml.Node{e.value}
		if e.value.Kind == yaml.SequenceNode {
			values = e.value.Content
		}
		for _, v := range values {
			all = append(all, p.expected(v, e.key.Value, expectKeys)...)
		}
	}
	return all
}

var expectKeys = keys[*testParser, *TestExpect]{
	{name: "rule", doc: "the rule that decides; without it, the one that has the socket", form: textForm, read: func(p *testParser, x *TestExpect, n *yaml.Node) {
		x.Rule, _ = p.text(n, "rule")
		x.RuleAt = placeOf(n)
	}},
	{name: "decision", doc: "what it decides, or none", form: refTo("decision"), read: func(p *testParser, x *TestExpect, n *yaml.Node) { x.Decision = p.decision(n) }},
	{name: "reason", doc: "a part of the reason", form: textForm, read: func(p *testParser, x *TestExpect, n *yaml.Node) { x.Reason, _ = p.text(n, "reason") }},
	{name: "action", doc: "the only effect", form: refTo("effect"), read: func(p *testParser, x *TestExpect, n *yaml.Node) {
		if text, ok := p.text(n, "action"); ok {
			p.effect(n, text)
			x.Actions = []string{text}
		}
	}},
	{name: "actions", doc: "all effects since something was expected last, in order; [] is none", form: listForm(refTo("effect")), read: func(p *testParser, x *TestExpect, n *yaml.Node) {
		x.Actions = []string{}
		for _, k := range p.items(n, "actions", "actions: ["+scalarOr(n, "destroy")+"]") {
			if text, ok := p.text(k, "an entry of actions"); ok {
				p.effect(k, text)
				x.Actions = append(x.Actions, text)
			}
		}
	}},
	{name: "count", doc: "of how many of the sockets", form: countForm, read: func(p *testParser, x *TestExpect, n *yaml.Node) { x.Count = p.count(n, "count") }},
}

var whereKeys = append(keys[*testParser, *TestExpect]{
	{name: "where", doc: "a condition: of which sockets", form: textForm, read: func(p *testParser, x *TestExpect, n *yaml.Node) { x.Where, _ = p.text(n, "where") }},
}, expectKeys...)

func (p *testParser) decision(n *yaml.Node) string {
	return p.oneOf(n, "a decision", p.decisions()...)
}

func (p *testParser) decisions() []string { return append([]string{ExpectNone}, p.words.Decisions...) }

// decisionAlone is what is expected of a socket in one word, which could be meant as the
// name of a rule.
func (p *testParser) decisionAlone(n *yaml.Node) string {
	all := p.decisions()
	if text := n.Value; text != "" && !slices.Contains(all, text) && p.suggest(text, all) == "" {
		p.errorf(lang.IDWrongValue, n, "%q is not a decision: it is %s; the rule that decides is written as {rule: NAME, decision: act}", text, lang.Choices(all))
		return ""
	}
	return p.decision(n)
}

func (p *testParser) expected(n *yaml.Node, socket string, ks keys[*testParser, *TestExpect]) []*TestExpect {
	x := &TestExpect{At: placeOf(n), Socket: socket}
	if n.Kind == yaml.ScalarNode && socket != "" {
		x.Decision = p.decisionAlone(n)
		return []*TestExpect{x}
	}
	ks.fields(p.reader, n, "an entry of expect", p, x)
	switch {
	case n.Kind != yaml.MappingNode:
	case x.Decision == "" && x.Rule == "" && x.Reason == "" && x.Actions == nil:
		p.errorf(idMissing, n, "it says nothing to expect: write decision: act, or decision: none")
	case x.Decision == ExpectNone && (x.Reason != "" || len(x.Actions) > 0):
		p.errorf(lang.IDWrongValue, n, "decision none has no reason and no actions")
	}
	return []*TestExpect{x}
}
