package rules

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"sockwarden/rules/lang"
)

// Var is a variable of a rules file: a constant whose value can be set from the
// command line.
type Var struct {
	lang.Value
	OneOf []string // if not empty, the allowed values of Text
	// asNames says that the elements of the list are names, whatever they look like.
	asNames bool
	// declared is the kind of an empty list's elements, "" if it is left open.
	declared lang.SetKind
}

// Override is a value for a variable from the command line: name=value replaces
// it, name+=value adds to a list or map.
type Override struct {
	Name  string
	Value string
	Add   bool
}

// ParseOverride reads name=value or name+=value.
func ParseOverride(text string) (Override, error) {
	name, value, ok := strings.Cut(text, "=")
	o := Override{Name: name, Value: value}
	o.Name, o.Add = strings.CutSuffix(name, "+")
	if !ok || o.Name == "" {
		return o, fmt.Errorf("%q is not name=value or name+=value, as in close_wait_timeout=30", text)
	}
	return o, nil
}

// override returns a copy of v with the value of o, which must be of v's type.
func (v *Var) override(o Override) (*Var, error) {
	out := *v
	if o.Add && v.Type != lang.TypeList && v.Type != lang.TypeMap {
		return nil, fmt.Errorf("+= adds to lists and maps, %s is a %s: write %s=%s", o.Name, v.Type, o.Name, o.Value)
	}
	switch v.Type {
	case lang.TypeNumber:
		d, err := lang.ParseDuration(o.Value)
		n, noNumber := strconv.ParseFloat(o.Value, 64)
		switch {
		case err != nil && noNumber == nil && n < 0:
			return nil, fmt.Errorf("%s is a number of at least 0, not %q", o.Name, o.Value)
		case err != nil:
			return nil, fmt.Errorf("%s is a number, not %q: write %s=60, or units as in 90s, 5m, 1h30m, 2d", o.Name, o.Value, o.Name)
		}
		out.Number = d.Seconds()
		if noNumber == nil {
			out.Number = n
		}
	case lang.TypeBool:
		b, err := strconv.ParseBool(o.Value)
		if err != nil {
			return nil, fmt.Errorf("%s is true or false, not %q", o.Name, o.Value)
		}
		out.Bool = b
	case lang.TypeString:
		if len(v.OneOf) > 0 && !slices.Contains(v.OneOf, o.Value) {
			return nil, fmt.Errorf("%s is %s, not %q%s", o.Name, lang.Choices(v.OneOf), o.Value, Suggest(o.Value, v.OneOf))
		}
		out.Text = o.Value
	case lang.TypeList:
		set, err := v.overrideList(o)
		if err != nil {
			return nil, err
		}
		out.List = set
	case lang.TypeMap:
		m, err := v.overrideMap(o)
		if err != nil {
			return nil, err
		}
		out.Value = lang.Value{Type: lang.TypeMap, Map: m} // the new map remembers nothing of the old one
	}
	return &out, nil
}

// exampleList is a list of each kind as --var takes it.
var exampleList = map[lang.SetKind]string{lang.KindNumber: "80,443", lang.KindAddr: "10.0.0.0/8,203.0.113.7", lang.KindName: "nginx,java"}

func (v *Var) overrideList(o Override) (*Set, error) {
	kind := v.declared
	if k := v.List.Kind(); k != lang.KindEmpty {
		kind = k
	}
	asNames := v.asNames || kind == lang.KindName
	if asNames {
		kind = lang.KindName
	}
	var b lang.SetBuilder
	b.Expect(kind)
	if o.Add {
		b.AddAll(v.List)
	}
	for e := range strings.SplitSeq(o.Value, ",") {
		e = strings.TrimSpace(e)
		if e == "" {
			continue
		}
		if x, err := lang.ParseElement(e); err == nil && !asNames && kind != "" && x.Kind != kind {
			return nil, fmt.Errorf("%s is a list of %s, not %q: write %s=%s", o.Name, kind, e, o.Name, exampleList[kind])
		}
		if err := b.Add(e, asNames); err != nil {
			return nil, fmt.Errorf("%s: %w", o.Name, err)
		}
	}
	return b.Set(), nil
}

func (v *Var) overrideMap(o Override) (map[string]lang.Scalar, error) {
	m := map[string]lang.Scalar{}
	if o.Add {
		maps.Copy(m, v.Map)
	}
	_, texts := v.First(false)
	for e := range strings.SplitSeq(o.Value, ",") {
		if strings.TrimSpace(e) == "" {
			continue
		}
		k, text, ok := strings.Cut(e, ":")
		if !ok {
			return nil, fmt.Errorf("%s is a map: write %s=key:value,key:value, not %q", o.Name, o.Name, e)
		}
		s := lang.Scalar{Text: text}
		if d, err := lang.ParseDuration(text); err == nil {
			s = lang.Scalar{IsNumber: true, Number: d.Seconds()}
		} else if !texts && len(v.Map) > 0 {
			return nil, fmt.Errorf("%s holds numbers: %w", o.Name, err)
		}
		m[strings.TrimSpace(k)] = s
	}
	return m, nil
}
