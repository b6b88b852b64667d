package collectors

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
)

// Set makes r say that field f has the value v, and that this is known. It creates
// missing parts of the record and changes those that exist, so nobody else may own them.
// v is anything that Value returns or JSON holds: bool, string, netip.Addr or its text,
// or any kind of number.
//
// Fields that read the same member (owned and inode, idle and idle_recv) must not
// contradict each other: if they do, Set returns an error and r is useless. A member that
// no known field has fixed gives way, so callers that set several fields go in the order
// of AllFields.
func Set(f Field, r *Record, v any) error {
	if f >= fieldCount {
		return fmt.Errorf("no field %s", f)
	}
	d := f.Doc()
	v, err := d.parse(v)
	if err != nil {
		return fmt.Errorf("%s: %w", d.Name, err)
	}
	r.socket() // readers need one
	before := valuesOf(r)
	known := &r.socket().Known
	switch {
	case d.part == ofOwner && r.Owner == nil && isZero(v): // nobody holds it
	case d.part == ofOwner:
		known = &r.owner().Known
		d.set(r, v)
	default:
		d.set(r, v)
	}
	if d.part == ofFacts {
		known = &r.facts().Known
	}
	if d.part != ofPlace {
		known.Add(Fields(f))
	}
	r.Known.Add(Fields(f))
	if got, _ := Value(f, r); !d.same(got, v) {
		return fmt.Errorf("%s: cannot be %v, it would be %v", d.Name, v, got)
	}
	for other, was := range before {
		if now, _ := Value(other, r); other != f && now != was {
			return fmt.Errorf("%s: with %v, %s would be %v and not %v", d.Name, v, other, now, was)
		}
	}
	return nil
}

func valuesOf(r *Record) map[Field]any {
	values := map[Field]any{}
	for f := range r.Known.Each {
		if v, ok := Value(f, r); ok {
			values[f] = v
		}
	}
	return values
}

func isZero(v any) bool { return v == false || v == 0.0 || v == "" }

// same reports whether a reader returned the value that was set. Times may be rounded to
// the kernel's units, milliseconds at the coarsest.
func (d *FieldDoc) same(got, v any) bool {
	if d.Type != TypeSeconds {
		return got == v
	}
	a, _ := got.(float64)
	b, _ := v.(float64)
	return math.Abs(a-b) <= 0.0005
}

// parse converts a value to the type of the field.
func (d *FieldDoc) parse(v any) (any, error) {
	switch d.Type {
	case TypeBool:
		if b, ok := v.(bool); ok {
			return b, nil
		}
	case TypeString:
		if s, ok := v.(string); ok {
			if len(d.Values) > 0 && !slices.Contains(d.Values, s) {
				return nil, fmt.Errorf("unknown value %q (known: %s)", s, strings.Join(d.Values, ", "))
			}
			return s, nil
		}
	case TypeAddr:
		return parseAddr(v)
	case TypeNumber, TypeSeconds, TypePort:
		if n, ok := number(v); ok && n >= 0 {
			return n, nil
		}
	}
	return nil, fmt.Errorf("%v (%T) is not a %s", v, v, d.Type)
}

func parseAddr(v any) (any, error) {
	text, isText := v.(string)
	a, ok := v.(netip.Addr)
	if isText {
		var err error
		if a, err = netip.ParseAddr(text); err != nil {
			return nil, fmt.Errorf("address: %w", err)
		}
		ok = true
	}
	if !ok || !a.IsValid() || a.Zone() != "" {
		return nil, errors.New("an address without a zone is wanted")
	}
	return a.Unmap(), nil
}

func number(v any) (float64, bool) {
	switch n := v.(type) {
	case float64:
		return n, true
	case int:
		return float64(n), true
	case int64:
		return float64(n), true
	case uint64:
		return float64(n), true
	}
	return 0, false
}

func (d *FieldDoc) set(r *Record, v any) {
	switch v := v.(type) {
	case bool:
		d.SetBool(r, v)
	case float64:
		d.SetNum(r, v)
	case netip.Addr:
		d.SetAddr(r, AddrFrom(v))
	case string:
		d.SetStr(r, v)
	}
}
