package explain

import (
	"sockwarden/collectors"
	"sockwarden/rules"
	"sockwarden/rules/lang"
)

// deciding is the path, from part to part, to the one that keeps a condition from being
// true: the first that is false or, if none is, the first that is unknown. Parts that
// change just because time passes come last.
func deciding(p *lang.Part) (path []int) {
	for {
		next := -1
		switch {
		case p.Op == lang.OpMacro && len(p.Parts) == 1:
			next = 0
		case p.Op == lang.OpAnd, p.Op == lang.OpOr && p.Value == rules.Unknown:
			next = firstOf(p.Parts, p.Value)
		}
		if next < 0 {
			return path
		}
		path, p = append(path, next), &p.Parts[next]
	}
}

// firstOf is the index of the first part with that value, preferably one that reads no
// time; -1 for none.
func firstOf(parts []lang.Part, value rules.Tri) int {
	first := -1
	for i := range parts {
		if parts[i].Value != value {
			continue
		}
		if !readsTime(&parts[i]) {
			return i
		}
		if first < 0 {
			first = i
		}
	}
	return first
}

var timeFields = collectors.AgeFields().Or(lang.IdleFields()).Or(collectors.StallFields())

func readsTime(p *lang.Part) bool { return reads(p, timeFields) }

func readsAge(p *lang.Part) bool { return reads(p, collectors.AgeFields()) }

// reads reports whether a part reads one of the fields.
func reads(p *lang.Part, fields collectors.FieldSet) bool {
	for _, name := range p.Names {
		if f, ok := collectors.FieldByName(name); ok && fields.Has(f) {
			return true
		}
	}
	return false
}

// readsOnly reports whether a part reads only these fields.
func readsOnly(p *lang.Part, fields collectors.FieldSet) bool {
	for _, name := range p.Names {
		if f, ok := collectors.FieldByName(name); !ok || !fields.Has(f) {
			return false
		}
	}
	return len(p.Names) > 0
}

// at is the part at the end of a path.
func at(p *lang.Part, path []int) *lang.Part {
	for _, i := range path {
		p = &p.Parts[i]
	}
	return p
}

// Conjuncts are the parts of a condition that must all be true.
func Conjuncts(p *lang.Part) []*lang.Part {
	switch {
	case p.Op == lang.OpMacro && len(p.Parts) == 1:
		return Conjuncts(&p.Parts[0])
	case p.Op != lang.OpAnd:
		return []*lang.Part{p}
	}
	var all []*lang.Part
	for i := range p.Parts {
		all = append(all, Conjuncts(&p.Parts[i])...)
	}
	return all
}

// fill assigns values to the parts of a tree and returns the remaining values.
func fill(p *lang.Part, values []rules.Tri) []rules.Tri {
	p.Value, values = values[0], values[1:]
	for i := range p.Parts {
		values = fill(&p.Parts[i], values)
	}
	return values
}
