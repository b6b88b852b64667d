package collectors

import "math"

// Value returns the value of f for printing: bool, float64, string or
// netip.Addr; false if it is unknown.
func Value(f Field, r *Record) (any, bool) {
	if f >= fieldCount || !r.Known.Has(f) {
		return nil, false
	}
	d := &fieldDocs[f]
	switch {
	case d.Bool != nil:
		return d.Bool(r), true
	case d.Num != nil:
		return d.Num(r), true
	case d.Addr != nil:
		return d.Addr(r).Netip(), true
	default:
		return d.Str(r), true
	}
}

// Map returns all known fields of r by name, numbers as int64 where they are
// whole, as JSON shows a socket. Of several owners the first speaks, and
// owner_processes lists them all.
func Map(r *Record) map[string]any {
	m := make(map[string]any, fieldCount)
	for f := range r.Known.Each {
		v, ok := Value(f, r)
		if !ok {
			continue
		}
		if n, isNum := v.(float64); isNum {
			v = shown(f, n)
		}
		m[f.String()] = v
	}
	if r.Facts != nil && len(r.Facts.Owners) > 1 {
		m["owner_processes"] = OwnerList(r.Facts.Owners)
	}
	return m
}

// OwnerList names processes as JSON has them in owner_processes.
func OwnerList(owners []Owner) []map[string]any {
	all := make([]map[string]any, len(owners))
	for i := range owners {
		all[i] = map[string]any{"pid": owners[i].PID, "process": owners[i].Name}
	}
	return all
}

// shown is how JSON shows a number of a field.
func shown(f Field, n float64) any {
	if f != FieldRTT { // the kernel measures it in microseconds, and on loopback it is a few
		n = Rounded(n)
	}
	if n == float64(int64(n)) {
		return int64(n)
	}
	return n
}

// Rounded is a number with three decimals at most: no time here is better than a
// millisecond.
func Rounded(n float64) float64 { return math.Round(n*1000) / 1000 }
