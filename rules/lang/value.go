package lang

import (
	"strconv"
	"strings"
)

// Value is what a name of a rules file stands for. Only the value of its type is set.
type Value struct {
	Type   ValueType
	Number float64
	Text   string
	Bool   bool
	List   *Set
	Map    map[string]Scalar
	// firsts are the first names of the map whose values are numbers (true) and
	// texts (false), once somebody has asked.
	firsts map[bool]string
}

// ValueType is the type of a value.
type ValueType string

// The types of values. A duration is a number of seconds.
const (
	TypeNumber ValueType = "number"
	TypeString ValueType = "string"
	TypeBool   ValueType = "bool"
	TypeList   ValueType = "list"
	TypeMap    ValueType = "map"
)

// Scalar is a value of a map: a number or a string.
type Scalar struct {
	IsNumber bool
	Number   float64
	Text     string
}

// String returns the value as it is written in a rules file.
func (v *Value) String() string {
	switch v.Type {
	case TypeNumber:
		return strconv.FormatFloat(v.Number, 'f', -1, 64)
	case TypeBool:
		return strconv.FormatBool(v.Bool)
	case TypeList:
		return v.List.String()
	case TypeMap:
		var parts []string
		for _, k := range sortedKeys(v.Map) {
			parts = append(parts, k+": "+v.Map[k].String())
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case TypeString:
	}
	return strconv.Quote(v.Text)
}

// First returns the first name of a map whose value is a number, or a text; false
// if it has none.
func (v *Value) First(number bool) (name string, ok bool) {
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

func (v *Value) operand(from, to int) operand {
	switch v.Type {
	case TypeNumber:
		return numConstant(v.Number, kNumber, from, to)
	case TypeBool:
		return boolConstant(v.Bool, from, to)
	case TypeList:
		return operand{kind: kList, constant: true, set: v.List, from: from, to: to}
	case TypeMap:
		return operand{kind: kMap, constant: true, table: v.Map, of: v, from: from, to: to}
	case TypeString:
	}
	return strConstant(v.Text, from, to)
}
