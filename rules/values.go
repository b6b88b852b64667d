package rules

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"sockwarden/rules/lang"
)

// declaration is a variable that says what its values may be.
type declaration struct{ value, typ, oneOf *yaml.Node }

var varKeys = keys[*names, *declaration]{
	{"value", "the value, unless --var gives another", refTo("value"), func(_ *names, d *declaration, n *yaml.Node) { d.value = n }},
	{
		"type", "what a list holds, for one that may be empty", oneOfForm(sortedKeys(listKinds)...),
		func(_ *names, d *declaration, n *yaml.Node) { d.typ = n },
	},
	{"one_of", "the only values that it may have", filledList(textForm), func(_ *names, d *declaration, n *yaml.Node) { d.oneOf = n }},
}

// parseVar reads a variable: a value, or {value: .., type: .., one_of: [..]}.
func (ns *names) parseVar(n *yaml.Node) *Var {
	var d declaration
	if n.Kind == yaml.MappingNode {
		for i := 0; i+1 < len(n.Content); i += 2 {
			if k, ok := varKeys.find(n.Content[i].Value); ok {
				k.read(ns, &d, n.Content[i+1])
			}
		}
	}
	value, typ, oneOf := d.value, d.typ, d.oneOf
	if value == nil || (typ == nil && oneOf == nil) {
		return ns.parseValue(n, false)
	}
	varKeys.fields(ns.reader, n, "a variable", ns, &declaration{}) // reports which other keys it has
	v := ns.parseValue(value, typ != nil && typ.Value == "strings")
	if v == nil {
		return nil
	}
	if typ != nil {
		ns.declareType(typ, v)
	}
	if oneOf != nil {
		for _, k := range ns.items(oneOf, "one_of", "one_of: [a, b]") {
			if text, ok := ns.text(k, "a value of one_of"); ok {
				v.OneOf = append(v.OneOf, text)
			}
		}
		if v.Type != lang.TypeString || !slices.Contains(v.OneOf, v.Text) {
			ns.errorf(lang.IDWrongValue, value, "the value is %s, not %s", lang.Choices(v.OneOf), nodeKind(value))
		}
	}
	return v
}

// listKinds are what a list can be declared to hold.
var listKinds = map[string]lang.SetKind{"ports": lang.KindNumber, "numbers": lang.KindNumber, "addresses": lang.KindAddr, "strings": lang.KindName}

// declareType gives an empty list its type, and checks the type of a full one.
func (ns *names) declareType(n *yaml.Node, v *Var) {
	k, ok := listKinds[n.Value]
	switch {
	case !ok:
		ns.oneOf(n, "type", sortedKeys(listKinds)...)
	case v.Type != lang.TypeList:
		ns.errorf(lang.IDWrongValue, n, "type is for lists, but this is a %s", v.Type)
	case v.List.Kind() != lang.KindEmpty && v.List.Kind() != k:
		ns.errorf(lang.IDWrongValue, n, "type is %s, but the list holds %s", n.Value, v.List.Kind())
	default:
		v.asNames = k == lang.KindName
		v.declared = k
	}
}

func (ns *names) parseValue(n *yaml.Node, asNames bool) *Var {
	switch n.Kind {
	case yaml.SequenceNode:
		set := ns.parseElements(n, asNames)
		if set == nil {
			return nil
		}
		return &Var{Value: lang.Value{Type: lang.TypeList, List: set}, asNames: set.Kind() == lang.KindName}
	case yaml.MappingNode:
		return ns.parseMap(n)
	case yaml.DocumentNode, yaml.AliasNode, yaml.StreamNode:
	case yaml.ScalarNode:
		s, ok := scalarOf(n)
		switch {
		case n.Tag == "!!bool":
			return &Var{Value: lang.Value{Type: lang.TypeBool, Bool: strings.EqualFold(n.Value, "true")}}
		case !ok:
			ns.errorf(idMissing, n, "a variable needs a value: write timeout: 60")
			return nil
		case s.IsNumber:
			return &Var{Value: lang.Value{Type: lang.TypeNumber, Number: s.Number}}
		}
		return &Var{Value: lang.Value{Type: lang.TypeString, Text: s.Text}}
	}
	ns.errorf(idWrongForm, n, "a variable is a number, a string, true or false, a list or a map")
	return nil
}

func (ns *names) parseMap(n *yaml.Node) *Var {
	entries, _ := ns.entries(n, "a map")
	v := &Var{Value: lang.Value{Type: lang.TypeMap, Map: map[string]lang.Scalar{}}}
	for _, e := range entries {
		s, ok := scalarOf(e.value)
		if e.value.Kind != yaml.ScalarNode || !ok {
			ns.errorf(idWrongForm, e.value, "a value of a map is a number, a duration or a string")
			continue
		}
		if !s.IsNumber {
			if d, err := lang.ParseDuration(s.Text); err == nil {
				s = lang.Scalar{IsNumber: true, Number: d.Seconds()}
			}
		}
		v.Map[e.key.Value] = s
	}
	return v
}

// scalarOf reads a number or a string. YAML 1.2 has no octal numbers that begin
// with a plain 0: they are decimal.
func scalarOf(n *yaml.Node) (lang.Scalar, bool) {
	switch n.Tag {
	case "!!null":
		return lang.Scalar{}, false
	case "!!int", "!!float":
		if v, err := strconv.ParseFloat(strings.ReplaceAll(n.Value, "_", ""), 64); err == nil && v-v == 0 {
			return lang.Scalar{IsNumber: true, Number: v}, true
		}
	}
	return lang.Scalar{Text: n.Value}, true
}

// exampleSet is a set of what stands there, or of a file if it is the name of one.
func exampleSet(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode && strings.ContainsAny(n.Value, "./") {
		if _, err := lang.ParseElement(n.Value); err != nil || !strings.ContainsAny(n.Value[:1], "0123456789:") {
			return fmt.Sprintf("{file: %s}", n.Value)
		}
	}
	return "[" + scalarOr(n, "80, 443") + "]"
}

// scalarOr returns what a scalar says, or something else if it is not a scalar.
func scalarOr(n *yaml.Node, other string) string {
	if n.Kind != yaml.ScalarNode || n.Value == "" || len(n.Value) > maxQuoted {
		return other
	}
	return n.Value
}

func (ns *names) parseElements(n *yaml.Node, asNames bool) *Set {
	var b lang.SetBuilder
	before := ns.problems.seen
	for _, k := range ns.items(n, "a set", exampleSet(n)) {
		text, ok := ns.text(k, "an element")
		if !ok {
			continue
		}
		if k.Tag == "!!int" && !asNames {
			if s, ok := scalarOf(k); ok && s.IsNumber {
				text = strconv.FormatFloat(s.Number, 'f', -1, 64)
			}
		}
		if err := b.Add(text, asNames); err != nil {
			ns.errorf(lang.IDWrongEntry, k, "%v", err)
		}
	}
	if ns.problems.seen > before {
		return nil
	}
	return b.Set()
}

// parseShare reads a part such as 30% or 0.3.
func parseShare(text string) (float64, error) {
	digits, percent := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(digits, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a share", text)
	}
	switch {
	case percent:
		v /= 100
	case v >= 1:
		return 0, fmt.Errorf("%q is everything or nothing: write %s%%", text, digits)
	}
	if !(v > 0 && v <= 1) {
		return 0, fmt.Errorf("%q is not between 0%% and 100%%", text)
	}
	return v, nil
}
