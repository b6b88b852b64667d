package lang

import (
	"fmt"
	"strconv"
	"strings"

	"sockwarden/collectors"
)

var mirrored = map[string]string{"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

// compare compiles ==, !=, <, <=, > and >=. A constant moves to the right: "60 < age"
// becomes "age > 60".
func (ops operators) compare(op string, l, r operand, from, to int) (operand, bool) {
	written := op
	if l.constant && !r.constant {
		l, r, op = r, l, mirrored[op]
	}
	if r.kind == kAge && l.kind != kAge || r.upper != nil && l.upper == nil {
		l, r, op = r, l, mirrored[op]
	}
	out := operand{kind: kBool, from: from, to: to, reads: l.reads.Or(r.reads), may: unbounded}
	equality := op == "==" || op == "!="
	switch {
	case l.kind == kList || r.kind == kList:
		return ops.emptyList(op, l, r, from, to)
	case l.kind == kAge:
		return ops.compareAge(op, l, r, out)
	case l.kind.numeric():
		return ops.compareNumbers(op, l, r, out)
	case !equality:
		ops.errorf(IDWrongType, from, "%s compares numbers; %s compares with == and !=", written, l.kind)
		return operand{}, false
	case l.kind == kString && r.kind == kString:
		return ops.compareStrings(op, l, r, out)
	case l.kind == kAddress:
		return ops.compareAddrs(op, l, r, out)
	case l.kind == kBool && r.kind == kBool:
		a, b := l.tri, r.tri
		out.tri = negateIf(op == "!=", func(rec *collectors.Record) Tri {
			x, y := a(rec), b(rec)
			if x == Unknown || y == Unknown {
				return Unknown
			}
			return triOf(x == y)
		})
		return out, true
	}
	if l.kind == kBool && l.field != nil {
		ops.errorf(IDWrongType, from, "%s is true or false: write %s, or not %s", l.field.Name, l.field.Name, l.field.Name)
		return operand{}, false
	}
	ops.errorf(IDWrongType, from, "%s cannot be compared with %s", describe(l), describe(r))
	return operand{}, false
}

func describe(o operand) string {
	if o.field != nil {
		return fmt.Sprintf("%s (%s)", o.field.Name, o.kind)
	}
	return o.kind.String()
}

func negateIf(negate bool, f func(*collectors.Record) Tri) func(*collectors.Record) Tri {
	if !negate {
		return f
	}
	return func(r *collectors.Record) Tri { return f(r).not() }
}

// emptyList is the one comparison of lists: with [], known when the rules are
// loaded.
func (ops operators) emptyList(op string, l, r operand, from, to int) (operand, bool) {
	if l.kind == kList && r.kind == kList && (op == "==" || op == "!=") && (r.set.Kind() == KindEmpty || l.set.Kind() == KindEmpty) {
		same := r.set.Kind() == l.set.Kind()
		return boolConstant(same == (op == "=="), from, to), true
	}
	ops.errorf(IDSyntax, from, "a list comes after in, or is compared with []: write port in [80, 443]")
	return operand{}, false
}

// constantSeconds turns a duration in quotes into seconds.
func (ops operators) constantSeconds(o operand) (operand, bool) {
	if o.kind != kString || !o.constant {
		return o, true
	}
	d, err := ParseDuration(o.strVal)
	if err != nil {
		ops.errorf(IDWrongValue, o.from, "%v", err)
		return o, false
	}
	return numConstant(d.Seconds(), kSeconds, o.from, o.to), true
}

func (ops operators) compareAge(op string, l, r operand, out operand) (operand, bool) {
	if op == "==" || op == "!=" {
		ops.errorf(IDAgeInterval, out.from, "%s is an interval and never equal to a number: compare it with >, >=, < or <=", l.interval())
		return operand{}, false
	}
	r, ok := ops.constantSeconds(r)
	if !ok {
		return operand{}, false
	}
	if !r.kind.numeric() || r.kind == kPort {
		ops.errorf(IDAgeInterval, r.from, "%s is compared with seconds or a duration, but this is %s", l.interval(), describe(r))
		return operand{}, false
	}
	if r.constant && l.interval() == collectors.FieldAge.String() && (op == ">" || op == ">=") {
		out.ages = []AgeBound{{r.numVal, l.from}}
	}
	out.limit = limitOf(op, &l, &r)
	limit, age := r.num, l.age
	// Each decides by the proven bounds: true, false, or unknown.
	var above, below func(a *collectors.Age, n float64) bool
	switch op {
	case ">":
		above, below = func(a *collectors.Age, n float64) bool { return a.Min > n }, func(a *collectors.Age, n float64) bool { return a.Max <= n }
	case ">=":
		above, below = func(a *collectors.Age, n float64) bool { return a.Min >= n }, func(a *collectors.Age, n float64) bool { return a.Max < n }
	case "<":
		above, below = func(a *collectors.Age, n float64) bool { return a.Min >= n }, func(a *collectors.Age, n float64) bool { return a.Max < n }
	case "<=":
		above, below = func(a *collectors.Age, n float64) bool { return a.Min > n }, func(a *collectors.Age, n float64) bool { return a.Max <= n }
	}
	out.tri = negateIf(op == "<" || op == "<=", func(rec *collectors.Record) Tri {
		n, known := limit(rec)
		a := age(rec)
		if !known || a == nil {
			return Unknown
		}
		switch {
		case above(a, n):
			return True
		case a.Bounded && below(a, n):
			return False
		}
		return Unknown
	})
	return out, true
}

func (ops operators) compareNumbers(op string, l, r operand, out operand) (operand, bool) {
	l, r, ok := ops.numbers(l, r, out.from)
	if !ok {
		return operand{}, false
	}
	a, b := l.num, r.num
	holds, negate := comparison(op)
	if r.constant {
		limit := r.numVal
		if isPortField(l.field) {
			out.may = portBounds(l.field.Field, compared(op, limit))
		}
		out.limit = limitOf(op, &l, &r)
		out.tri = negateIf(negate, func(rec *collectors.Record) Tri {
			x, ok := a(rec)
			if !ok {
				return Unknown
			}
			return triOf(holds(x, limit))
		})
	} else {
		out.tri = negateIf(negate, func(rec *collectors.Record) Tri {
			x, ok1 := a(rec)
			y, ok2 := b(rec)
			if !ok1 || !ok2 {
				return Unknown
			}
			return triOf(holds(x, y))
		})
	}
	if l.upper != nil {
		out.tri = negateIf(negate, compareBounds(l, b, holds))
	}
	if l.constant && r.constant {
		return boolConstant(out.tri(nil) == True, out.from, out.to), true
	}
	return out, true
}

// numbers checks that two operands are numbers that can be compared. From is where they
// stand.
func (ops operators) numbers(l, r operand, from int) (operand, operand, bool) {
	if l.kind == kSeconds || r.kind == kSeconds {
		var ok1, ok2 bool
		l, ok1 = ops.constantSeconds(l)
		r, ok2 = ops.constantSeconds(r)
		if !ok1 || !ok2 {
			return l, r, false
		}
	}
	if r.constant && r.kind == kString && digits(r.strVal) {
		ops.errorf(IDWrongType, r.from, "%s is compared with a number: write %s without quotes", describe(l), strings.TrimSpace(r.strVal))
		return l, r, false
	}
	if !r.kind.numeric() {
		ops.errorf(IDWrongType, from, "%s cannot be compared with %s", describe(l), describe(r))
		return l, r, false
	}
	return l, r, l.kind != kPort || !r.constant || ops.isPort(r.numVal, r.from)
}

// comparison returns the question that an operator asks, or asks for the opposite of.
func comparison(op string) (holds func(x, y float64) bool, negate bool) {
	switch op {
	case "<", ">=":
		return func(x, y float64) bool { return x < y }, op == ">="
	case ">", "<=":
		return func(x, y float64) bool { return x > y }, op == "<="
	}
	return func(x, y float64) bool { return x == y }, op == "!="
}

func digits(text string) bool {
	_, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	return err == nil
}

// isPortField reports whether d is the local or the remote port.
func isPortField(d *collectors.FieldDoc) bool {
	return d != nil && (d.Field == collectors.FieldPort || d.Field == collectors.FieldRemotePort)
}

func (ops operators) isPort(n float64, from int) bool {
	if n < 0 || n > 65535 || n != float64(int(n)) {
		ops.errorf(IDOutOfRange, from, "port %s is out of range (0..65535)", strconv.FormatFloat(n, 'f', -1, 64))
		return false
	}
	return true
}

// compareBounds compares a number of which only bounds are known: the comparison is true,
// or false, if it is so for every number within the bounds.
func compareBounds(l operand, with func(*collectors.Record) (float64, bool), holds func(x, y float64) bool) func(*collectors.Record) Tri {
	equality := holds(0, 0)
	return func(rec *collectors.Record) Tri {
		low, ok1 := l.num(rec)
		y, ok2 := with(rec)
		if !ok1 || !ok2 {
			return Unknown
		}
		high := l.upper(rec)
		switch {
		case low == high:
			return triOf(holds(low, y))
		case equality && (y < low || y > high):
			return False
		case equality, holds(low, y) != holds(high, y):
			return Unknown
		}
		return triOf(holds(low, y))
	}
}
