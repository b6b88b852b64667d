package collectors

import "math"

// Value returns the value of f for printing: bool, float64, string or netip.Addr; false
// if it is unknown.
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

// Map returns all known fields of r by name, as JSON shows a socket; whole numbers are
// int64. If there are several owners it shows the first, and owner_processes lists them
// all.
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

// OwnerList returns processes as owner_processes shows them in JSON.
func OwnerList(owners []Owner) []map[string]any {
	all := make([]map[string]any, len(owners))
	for i := range owners {
		all[i] = map[string]any{"pid": owners[i].PID, "process": owners[i].Name}
	}
	return all
}

// shown returns a number as JSON shows it.
func shown(f Field, n float64) any {
	if f != FieldRTT { // in microseconds: on loopback only a few
		n = Rounded(n)
	}
	if n == float64(int64(n)) {
		return int64(n)
	}
	return n
}

// Rounded keeps at most three decimals: no time here is more precise than a millisecond.
func Rounded(n float64) float64 { return math.Round(n*1000) / 1000 }
