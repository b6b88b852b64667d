package langtest

import (
	"fmt"
	"net/netip"
	"strconv"

	"sockwarden/collectors"
)

// intervals are times that compare in their own way, and cannot be calculated with.
var intervals = collectors.Fields(collectors.FieldAge, collectors.FieldSendStalled)

// The names of all fields by type: what is new is written about at once. Intervals are not
// among the times; fields of few values are in enumFields.
var (
	boolNames    = names(collectors.TypeBool)
	numberNames  = names(collectors.TypeNumber)
	secondsNames = names(collectors.TypeSeconds)
	portNames    = names(collectors.TypePort)
	addrNames    = names(collectors.TypeAddr)
	stringNames  = names(collectors.TypeString)
	allNames     = everyName()
	enumFields   = fieldsOfFewValues()
)

func names(t collectors.Type) (out []string) {
	for _, d := range collectors.AllFields() {
		if d.Type == t && !intervals.Has(d.Field) && len(d.Values) == 0 {
			out = append(out, d.Name)
		}
	}
	return out
}

func everyName() (out []string) {
	for _, d := range collectors.AllFields() {
		out = append(out, d.Name)
	}
	return out
}

func fieldsOfFewValues() (out []collectors.FieldDoc) {
	for _, d := range collectors.AllFields() {
		if len(d.Values) > 0 && d.Field != collectors.FieldState { // people spell states in many ways
			out = append(out, d)
		}
	}
	return out
}

// About writes a condition about one field and nothing else. What it compares with is
// a value that the field can have.
func (w Writer) About(f collectors.Field) Said {
	d := f.Doc()
	v, ok := collectors.Value(f, RandomRecord(w))
	if !ok {
		panic(fmt.Sprintf("langtest: a random record does not know %s", d.Name))
	}
	equality, order := Pick(w, " == ", " != "), Pick(w, " < ", " <= ", " > ", " >= ")
	switch d.Type {
	case collectors.TypeBool:
		return same(Pick(w, d.Name, "not "+d.Name, d.Name+equality+"true"))
	case collectors.TypeNumber, collectors.TypeSeconds, collectors.TypePort:
		number, _ := v.(float64)
		op := Pick(w, order, equality)
		if intervals.Has(f) {
			op = order
		}
		return same(d.Name + op + strconv.FormatFloat(number, 'f', -1, 64))
	case collectors.TypeString:
		text := fmt.Sprintf("%q", v)
		ops := []string{equality, " contains ", " startsWith ", " not endsWith "}
		if len(d.Values) > 0 {
			ops = ops[:1]
		}
		return Pick(w, same(d.Name+Pick(w, ops...)+text), same(d.Name+Pick(w, " in [", " not in [")+text+"]"))
	case collectors.TypeAddr:
		addr, _ := v.(netip.Addr)
		is := fmt.Sprintf("same(%s, %q)", d.Name, addr)
		return Pick(w,
			Said{fmt.Sprintf("%s == %q", d.Name, addr), is}, Said{fmt.Sprintf("%s != %q", d.Name, addr), "not " + is},
			Said{fmt.Sprintf("%s in [%q]", d.Name, addr), is})
	}
	panic(fmt.Sprintf("langtest: how is a condition about %s written, which is of type %s?", d.Name, d.Type))
}
