package rules

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Var is a variable of a rules file: a constant whose value can be set from the
// command line. Of the values only the one of its type is set.
type Var struct {
	Type   VarType
	Number float64
	Text   string
	Bool   bool
	List   *Set
	Map    map[string]Scalar
	OneOf  []string // if not empty, what Text may be
	// asNames says that the elements of the list are names, whatever they look like.
	asNames bool
	// firsts are the first names of the map whose values are numbers (true) and
	// texts (false), once somebody has asked.
	firsts map[bool]string
	// declared is the kind of an empty list's elements, "" if it is left open.
	declared setKind
}

// VarType is the type of a variable.
type VarType string

// The types of variables. A duration is a number of seconds.
const (
	VarNumber VarType = "number"
	VarString VarType = "string"
	VarBool   VarType = "bool"
	VarList   VarType = "list"
	VarMap    VarType = "map"
)

// String returns the value as it is written in a rules file.
func (v *Var) String() string {
	switch v.Type {
	case VarNumber:
		return strconv.FormatFloat(v.Number, 'f', -1, 64)
	case VarBool:
		return strconv.FormatBool(v.Bool)
	case VarList:
		return v.List.String()
	case VarMap:
		var parts []string
		for _, k := range sortedKeys(v.Map) {
			parts = append(parts, k+": "+v.Map[k].String())
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case VarString:
	}
	return strconv.Quote(v.Text)
}

// first returns the first name of a map whose value is a number, or a text; false
// if it has none.
func (v *Var) first(number bool) (name string, ok bool) {
	if v.firsts == nil {
		v.firsts = map[bool]string{}
		for _, name := range sortedKeys(v.Map) {
			if _, ok := v.firsts[v.Map[name].IsNumber]; !ok {
				v.firsts[v.Map[name].IsNumber] = name
			}
		}
	}
	name, ok = v.firsts[number]
	return name, ok
}

// String returns the number or the quoted text.
func (s Scalar) String() string {
	if s.IsNumber {
		return strconv.FormatFloat(s.Number, 'f', -1, 64)
	}
	return strconv.Quote(s.Text)
}

func (v *Var) operand(from, to int) operand {
	switch v.Type {
	case VarNumber:
		return numConstant(v.Number, kNumber, from, to)
	case VarBool:
		return boolConstant(v.Bool, from, to)
	case VarList:
		return operand{kind: kList, constant: true, set: v.List, from: from, to: to}
	case VarMap:
		return operand{kind: kMap, constant: true, table: v.Map, of: v, from: from, to: to}
	case VarString:
	}
	return strConstant(v.Text, from, to)
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
		return o, fmt.Errorf("%q is not name=value or name+=value", text)
	}
	return o, nil
}

// override returns a copy of v with the value of o, which must be of v's type.
func (v *Var) override(o Override) (*Var, error) {
	out := *v
	out.firsts = nil
	if o.Add && v.Type != VarList && v.Type != VarMap {
		return nil, fmt.Errorf("+= adds to lists and maps, %s is a %s: write %s=%s", o.Name, v.Type, o.Name, o.Value)
	}
	switch v.Type {
	case VarNumber:
		d, err := ParseDuration(o.Value)
		if err != nil {
			return nil, fmt.Errorf("%s is a number, not %q", o.Name, o.Value)
		}
		out.Number = d.Seconds()
		if n, err := strconv.ParseFloat(o.Value, 64); err == nil {
			out.Number = n
		}
	case VarBool:
		b, err := strconv.ParseBool(o.Value)
		if err != nil {
			return nil, fmt.Errorf("%s is true or false, not %q", o.Name, o.Value)
		}
		out.Bool = b
	case VarString:
		if len(v.OneOf) > 0 && !slices.Contains(v.OneOf, o.Value) {
			return nil, fmt.Errorf("%s is %s, not %q%s", o.Name, choices(v.OneOf), o.Value, Suggest(o.Value, v.OneOf))
		}
		out.Text = o.Value
	case VarList:
		set, err := v.overrideList(o)
		if err != nil {
			return nil, err
		}
		out.List = set
	case VarMap:
		m, err := v.overrideMap(o)
		if err != nil {
			return nil, err
		}
		out.Map = m
	}
	return &out, nil
}

func (v *Var) overrideList(o Override) (*Set, error) {
	b := setBuilder{}
	b.kind = v.declared
	if k := v.List.kind(); k != kindEmpty {
		b.kind = k
	}
	asNames := v.asNames || b.kind == kindName
	if asNames {
		b.kind = kindName
	}
	if o.Add {
		b.addAll(v.List)
	}
	for e := range strings.SplitSeq(o.Value, ",") {
		e = strings.TrimSpace(e)
		if e == "" {
			continue
		}
		if x, err := parseElement(e); err == nil && !asNames && b.kind != "" && x.kind != b.kind {
			return nil, fmt.Errorf("%s is a list of %s, not %q", o.Name, b.kind, e)
		}
		if err := b.add(e, asNames); err != nil {
			return nil, fmt.Errorf("%s: %w", o.Name, err)
		}
	}
	return b.set(), nil
}

func (v *Var) overrideMap(o Override) (map[string]Scalar, error) {
	m := map[string]Scalar{}
	if o.Add {
		maps.Copy(m, v.Map)
	}
	_, texts := v.first(false)
	for e := range strings.SplitSeq(o.Value, ",") {
		if strings.TrimSpace(e) == "" {
			continue
		}
		k, text, ok := strings.Cut(e, ":")
		if !ok {
			return nil, fmt.Errorf("%s is a map: write %s=key:value,key:value, not %q", o.Name, o.Name, e)
		}
		s := Scalar{Text: text}
		if d, err := ParseDuration(text); err == nil {
			s = Scalar{IsNumber: true, Number: d.Seconds()}
		} else if !texts && len(v.Map) > 0 {
			return nil, fmt.Errorf("%s holds numbers: %w", o.Name, err)
		}
		m[strings.TrimSpace(k)] = s
	}
	return m, nil
}
