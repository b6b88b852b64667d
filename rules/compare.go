package rules

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sockwarden/collectors"
)

var mirrored = map[string]string{"==": "==", "!=": "!=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

// compare compiles ==, !=, <, <=, > and >=. A constant comes to the right, so
// that "60 < age" is "age > 60".
func (c *compiler) compare(op string, l, r operand, from, to int) (operand, bool) {
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
		return c.emptyList(op, l, r, from, to)
	case l.kind == kAge:
		return c.compareAge(op, l, r, out)
	case l.kind.numeric():
		return c.compareNumbers(op, l, r, out)
	case !equality:
		c.errorf(from, "%s compares numbers; %s compares with == and !=", written, l.kind)
		return operand{}, false
	case l.kind == kString && r.kind == kString:
		return c.compareStrings(op, l, r, out)
	case l.kind == kAddress:
		return c.compareAddrs(op, l, r, out)
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
	c.errorf(from, "%s cannot be compared with %s", describe(l), describe(r))
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
func (c *compiler) emptyList(op string, l, r operand, from, to int) (operand, bool) {
	if l.kind == kList && r.kind == kList && (op == "==" || op == "!=") && (r.set.kind() == kindEmpty || l.set.kind() == kindEmpty) {
		same := r.set.kind() == l.set.kind()
		return boolConstant(same == (op == "=="), from, to), true
	}
	c.errorf(from, "a list is asked with in, or compared with []: port in [80, 443]")
	return operand{}, false
}

// constantSeconds turns a duration in quotes into seconds.
func (c *compiler) constantSeconds(o operand) (operand, bool) {
	if o.kind != kString || !o.constant {
		return o, true
	}
	d, err := ParseDuration(o.strVal)
	if err != nil {
		c.errorf(o.from, "%v", err)
		return o, false
	}
	return numConstant(d.Seconds(), kSeconds, o.from, o.to), true
}

func (c *compiler) compareAge(op string, l, r operand, out operand) (operand, bool) {
	if op == "==" || op == "!=" {
		c.errorf(out.from, "age is an interval and never equal to a number: compare it with >, >=, < or <=")
		return operand{}, false
	}
	r, ok := c.constantSeconds(r)
	if !ok {
		return operand{}, false
	}
	if !r.kind.numeric() || r.kind == kPort {
		c.errorf(r.from, "age is compared with seconds or a duration, this is %s", describe(r))
		return operand{}, false
	}
	if r.constant && (op == ">" || op == ">=") {
		out.ages = []ageBound{{r.numVal, l.from}}
	}
	limit, age := r.num, l.age
	// Each decides by the proven bounds: true, false, or not known.
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

func (c *compiler) compareNumbers(op string, l, r operand, out operand) (operand, bool) {
	if l.kind == kSeconds || r.kind == kSeconds {
		var ok1, ok2 bool
		l, ok1 = c.constantSeconds(l)
		r, ok2 = c.constantSeconds(r)
		if !ok1 || !ok2 {
			return operand{}, false
		}
	}
	if !r.kind.numeric() {
		c.errorf(out.from, "%s cannot be compared with %s", describe(l), describe(r))
		return operand{}, false
	}
	if l.kind == kPort && r.constant && !c.isPort(r.numVal, r.from) {
		return operand{}, false
	}
	a, b := l.num, r.num
	var holds func(x, y float64) bool
	switch op {
	case "==", "!=":
		holds = func(x, y float64) bool { return x == y }
	case "<", ">=":
		holds = func(x, y float64) bool { return x < y }
	case ">", "<=":
		holds = func(x, y float64) bool { return x > y }
	}
	negate := op == "!=" || op == ">=" || op == "<="
	if r.constant {
		limit := r.numVal
		if isPortField(l.field) {
			out.may = portBounds(l.field.Field, compared(op, limit))
		}
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

// isPortField reports whether d is the local or the remote port.
func isPortField(d *collectors.FieldDoc) bool {
	return d != nil && (d.Field == collectors.FieldPort || d.Field == collectors.FieldRemotePort)
}

func (c *compiler) isPort(n float64, from int) bool {
	if n < 0 || n > 65535 || n != float64(int(n)) {
		c.errorf(from, "port %s is out of range (0..65535)", strconv.FormatFloat(n, 'f', -1, 64))
		return false
	}
	return true
}

func (c *compiler) compareStrings(op string, l, r operand, out operand) (operand, bool) {
	if l.constant && r.constant {
		return boolConstant((l.strVal == r.strVal) == (op == "=="), out.from, out.to), true
	}
	if r.constant && l.field != nil && len(l.field.Values) > 0 {
		value, ok := c.enumValue(l.field, r.strVal, r.from)
		if !ok {
			return operand{}, false
		}
		return c.oneOf(l, []string{value}, op == "!=", out), true
	}
	a, b := l.str, r.str
	out.tri = negateIf(op == "!=", func(rec *collectors.Record) Tri {
		x, ok1 := a(rec)
		y, ok2 := b(rec)
		if !ok1 || !ok2 {
			return Unknown
		}
		return triOf(x == y)
	})
	return out, true
}

// enumValue checks a constant that is compared with a field of few values, and
// returns the field's own spelling of it.
func (c *compiler) enumValue(d *collectors.FieldDoc, text string, from int) (string, bool) {
	if d.Field == collectors.FieldState {
		s, ok := collectors.ParseState(text)
		if !ok {
			c.errorf(from, "unknown state %q%s", text, Suggest(text, d.Values))
			return "", false
		}
		return s.String(), true
	}
	for _, v := range d.Values {
		if strings.EqualFold(v, text) {
			return v, true
		}
	}
	c.errorf(from, "%s is never %q: it is %s%s", d.Name, text, choices(d.Values), Suggest(text, d.Values))
	return "", false
}

// oneOf compiles the question whether a string is one of the values.
func (c *compiler) oneOf(l operand, values []string, negate bool, out operand) operand {
	switch {
	case l.field != nil && l.field.Field == collectors.FieldState:
		var mask collectors.StateMask
		for _, v := range values {
			s, _ := collectors.ParseState(v)
			mask |= collectors.Mask(s)
		}
		out.may = statesBounds(mask)
		if negate {
			mask, out.may = ^mask, out.may.not()
		}
		out.tri = func(rec *collectors.Record) Tri { return triOf(mask.Has(rec.Socket.State)) }
		return out
	case l.field != nil && l.field.Field == collectors.FieldProtocol:
		var set uint32
		for _, p := range []collectors.Protocol{collectors.TCP, collectors.UDP} {
			if slices.Contains(values, p.String()) {
				set |= 1 << p
			}
		}
		out.may = protocolBounds(set)
	case l.field != nil && l.field.Field == collectors.FieldFamily:
		var set families
		if slices.Contains(values, "ipv4") {
			set |= speaksIPv4
		}
		if slices.Contains(values, "ipv6") {
			set |= speaksIPv6
		}
		out.may = familyBounds(set)
	}
	if negate {
		out.may = out.may.not()
	}
	out.tri = hasName(l.str, newSet(nil, values), negate)
	return out
}

func (c *compiler) compareAddrs(op string, l, r operand, out operand) (operand, bool) {
	if r.kind == kAddress {
		a, b := l.addr, r.addr
		out.tri = negateIf(op == "!=", func(rec *collectors.Record) Tri {
			x, ok1 := a(rec)
			y, ok2 := b(rec)
			if !ok1 || !ok2 {
				return Unknown
			}
			return triOf(x == y)
		})
		return out, true
	}
	if r.kind != kString || !r.constant {
		c.errorf(out.from, "%s cannot be compared with %s", describe(l), describe(r))
		return operand{}, false
	}
	ip, err := netip.ParseAddr(r.strVal)
	if err != nil || ip.Zone() != "" {
		if _, err := netip.ParsePrefix(r.strVal); err == nil {
			c.errorf(r.from, "%q is a prefix: write %s in [%q]", r.strVal, l.field.Name, r.strVal)
		} else {
			c.errorf(r.from, "%q is no IP address", r.strVal)
		}
		return operand{}, false
	}
	want := collectors.AddrFrom(ip)
	get := l.addr
	if l.field != nil && l.field.Field == collectors.FieldRemoteAddr {
		out.may = peerBounds([]netip.Prefix{netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen())})
		if op == "!=" {
			out.may = out.may.not()
		}
	}
	out.tri = negateIf(op == "!=", func(rec *collectors.Record) Tri {
		x, ok := get(rec)
		if !ok {
			return Unknown
		}
		return triOf(x == want)
	})
	return out, true
}

// compareBounds compares a number that is only bounded: it is known to hold, or
// not to, if that is so for every number within the bounds.
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
