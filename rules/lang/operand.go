package lang

import (
	"math"

	"sockwarden/collectors"
)

// kind is the type of an expression.
type kind uint8

const (
	kBool kind = iota
	kNumber
	kSeconds // a number that also compares with a duration in quotes
	kPort
	kAge // compares as the interval [age, age_max]
	kString
	kAddress
	kList
	kMap
)

func (k kind) String() string {
	return [...]string{"a condition", "a number", "a time in seconds", "a port", "an age", "a string", "an address", "a list", "a map"}[k]
}

func (k kind) numeric() bool { return k == kNumber || k == kSeconds || k == kPort }

// operand is a checked and compiled expression. Only the function of its kind is set;
// constants have their value too.
type operand struct {
	kind     kind
	from, to int // runes of the text that it came from
	constant bool
	field    *collectors.FieldDoc // the field, if it is nothing but one

	numVal  float64
	strVal  string
	boolVal bool
	set     *Set
	of      *Value // the variable of the map
	table   map[string]Scalar

	num  func(*collectors.Record) (float64, bool)
	str  func(*collectors.Record) (string, bool)
	addr func(*collectors.Record) (collectors.Addr, bool)
	tri  func(*collectors.Record) Tri
	age  func(*collectors.Record) *collectors.Age // nil while it is not known
	// upper is set for a number of which num is only the lower bound.
	upper func(*collectors.Record) float64

	reads collectors.FieldSet
	may   bounds     // of conditions
	ages  []AgeBound // below which a condition cannot hold
	node  *node      // of a condition
	limit *limit     // a condition that only compares a field with a constant
	parts []*node    // the conditions that it was made of
}

func boolConstant(v bool, from, to int) operand {
	o := operand{kind: kBool, constant: true, boolVal: v, from: from, to: to}
	t := triOf(v)
	o.tri = func(*collectors.Record) Tri { return t }
	o.may = bounds{everything, box{why: noMatter}}
	if !v {
		o.may = o.may.not()
	}
	return o
}

func numConstant(v float64, k kind, from, to int) operand {
	return operand{
		kind: k, constant: true, numVal: v, from: from, to: to,
		num: func(*collectors.Record) (float64, bool) { return v, true },
	}
}

func strConstant(v string, from, to int) operand {
	return operand{
		kind: kString, constant: true, strVal: v, from: from, to: to,
		str: func(*collectors.Record) (string, bool) { return v, true },
	}
}

// fieldOperand reads a field; unknown when the record does not know it.
func fieldOperand(f collectors.Field, from, to int) operand {
	d := f.Doc()
	o := operand{from: from, to: to, field: d, reads: collectors.Fields(f), may: unbounded}
	switch d.Type {
	case collectors.TypeBool:
		o.kind = kBool
		o.tri = func(r *collectors.Record) Tri {
			if !r.Known.Has(f) {
				return Unknown
			}
			return triOf(d.Bool(r))
		}
	case collectors.TypeNumber, collectors.TypeSeconds, collectors.TypePort:
		o.kind = map[collectors.Type]kind{collectors.TypeNumber: kNumber, collectors.TypeSeconds: kSeconds, collectors.TypePort: kPort}[d.Type]
		switch f {
		case collectors.FieldAge:
			o.kind, o.age = kAge, ageOf
		case collectors.FieldSendStalled:
			o.kind, o.age = kAge, stalledOf
		default:
		}
		o.num = func(r *collectors.Record) (float64, bool) {
			if !r.Known.Has(f) {
				return 0, false
			}
			return d.Num(r), true
		}
	case collectors.TypeString:
		o.kind = kString
		o.str = func(r *collectors.Record) (string, bool) {
			if !r.Known.Has(f) {
				return "", false
			}
			return d.Str(r), true
		}
	case collectors.TypeAddr:
		o.kind = kAddress
		o.addr = func(r *collectors.Record) (collectors.Addr, bool) {
			if !r.Known.Has(f) {
				return collectors.Addr{}, false
			}
			return d.Addr(r), true
		}
	}
	return o
}

func andTri(a, b func(*collectors.Record) Tri) func(*collectors.Record) Tri {
	return func(r *collectors.Record) Tri {
		x := a(r)
		if x == False {
			return False
		}
		switch y := b(r); {
		case y == False:
			return False
		case x == True && y == True:
			return True
		}
		return Unknown
	}
}

func orTri(a, b func(*collectors.Record) Tri) func(*collectors.Record) Tri {
	return func(r *collectors.Record) Tri {
		x := a(r)
		if x == True {
			return True
		}
		switch y := b(r); {
		case y == True:
			return True
		case x == False && y == False:
			return False
		}
		return Unknown
	}
}

// ageOf returns the age of a socket, nil until it has been looked for.
func ageOf(r *collectors.Record) *collectors.Age {
	if r.Facts == nil {
		return nil
	}
	return &r.Facts.Age
}

// stalledOf does so for how long what it has sent has been waiting. It is also read where
// only its upper bound is proven, and so the field is not known.
func stalledOf(r *collectors.Record) *collectors.Age {
	if r.Facts == nil {
		return nil
	}
	a := &r.Facts.Stalled
	if bounded := a.Bounded && a.Min == 0 && a.Max > 0; !bounded && !r.Known.Has(collectors.FieldSendStalled) {
		return nil
	}
	return a
}

// interval names an operand of the kind kAge in messages.
func (o *operand) interval() string {
	if o.field != nil {
		return o.field.Name
	}
	return collectors.FieldAge.String()
}

// groupNames are what having can ask about a group.
var groupNames = []string{"count", "max_age", "sum_recv_queue", "sum_send_queue", "fds", "fd_limit"}

// groupOperand reads a value of a group.
func groupOperand(name string, from, to int) (operand, bool) {
	o := operand{kind: kNumber, from: from, to: to, may: unbounded}
	read := func(f func(*collectors.Group) float64) {
		o.num = func(r *collectors.Record) (float64, bool) {
			if r.Group == nil {
				return 0, false
			}
			v := f(r.Group)
			return v, v >= 0
		}
	}
	switch name {
	case "count":
		read(func(g *collectors.Group) float64 { return float64(g.Count) })
		o.upper = func(r *collectors.Record) float64 { return float64(r.Group.Count + r.Group.Uncertain) }
	case "max_age":
		o.kind, o.reads = kAge, collectors.Fields(collectors.FieldAge)
		o.age = func(r *collectors.Record) *collectors.Age {
			if r.Group == nil {
				return nil
			}
			return &r.Group.Age
		}
	case "sum_recv_queue":
		read(func(g *collectors.Group) float64 { return g.RecvQueue })
		o.upper = upperSum(o.num)
	case "sum_send_queue":
		read(func(g *collectors.Group) float64 { return g.SendQueue })
		o.upper = upperSum(o.num)
	case "fds":
		read(func(g *collectors.Group) float64 { return g.FDs })
	case "fd_limit":
		read(func(g *collectors.Group) float64 { return g.FDLimit })
	default:
		return o, false
	}
	return o, true
}

// upperSum is the upper bound of a sum: the sum itself, or none if some members are
// uncertain or their queues unknown.
func upperSum(sum func(*collectors.Record) (float64, bool)) func(*collectors.Record) float64 {
	return func(r *collectors.Record) float64 {
		if r.Group.Uncertain > 0 || r.Group.Unsummed {
			return math.Inf(1)
		}
		v, _ := sum(r)
		return v
	}
}
