package collectors

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
		if n, isNum := v.(float64); isNum && n == float64(int64(n)) {
			v = int64(n)
		}
		m[f.String()] = v
	}
	if r.Facts != nil && len(r.Facts.Owners) > 1 {
		var all []map[string]any
		for i := range r.Facts.Owners {
			o := &r.Facts.Owners[i]
			all = append(all, map[string]any{"pid": o.PID, "process": o.Name})
		}
		m["owner_processes"] = all
	}
	return m
}
