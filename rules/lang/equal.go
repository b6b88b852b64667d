package lang

import (
	"net/netip"
	"slices"
	"strings"

	"sockwarden/collectors"
)

func (ops operators) compareStrings(op string, l, r operand, out operand) (operand, bool) {
	if l.constant && r.constant {
		return boolConstant((l.strVal == r.strVal) == (op == "=="), out.from, out.to), true
	}
	if r.constant && l.field != nil && len(l.field.Values) > 0 {
		value, ok := ops.enumValue(l.field, r.strVal, r.from)
		if !ok {
			return operand{}, false
		}
		return oneOf(l, []string{value}, op == "!=", out), true
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
func (ops operators) enumValue(d *collectors.FieldDoc, text string, from int) (string, bool) {
	if d.Field == collectors.FieldState {
		s, ok := collectors.ParseState(text)
		if small := strings.ToLower(text); !ok && slices.Contains(collectors.FieldProtocol.Doc().Values, small) {
			ops.errorf(IDNeverEqual, from, "%q is a protocol, not a state: write protocol == %q", text, small)
			return "", false
		}
		if !ok {
			ops.errorf(IDNeverEqual, from, "unknown state %q%s", text, Suggest(text, d.Values))
			return "", false
		}
		return s.String(), true
	}
	for _, v := range d.Values {
		if strings.EqualFold(v, text) {
			return v, true
		}
	}
	ops.errorf(IDNeverEqual, from, "%s is never %q: it is %s%s", d.Name, text, Choices(d.Values), Suggest(text, d.Values))
	return "", false
}

// oneOf compiles the question whether a string is one of several values.
func oneOf(l operand, values []string, negate bool, out operand) operand {
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
		var set collectors.ProtocolSet
		for _, p := range collectors.Protocols() {
			if slices.Contains(values, p.String()) {
				set |= collectors.ProtocolsIn(p)
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

func (ops operators) compareAddrs(op string, l, r operand, out operand) (operand, bool) {
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
		ops.errorf(IDWrongType, out.from, "%s cannot be compared with %s", describe(l), describe(r))
		return operand{}, false
	}
	ip, err := netip.ParseAddr(r.strVal)
	if err != nil || ip.Zone() != "" {
		if _, err := netip.ParsePrefix(r.strVal); err == nil {
			ops.errorf(IDPrefixAsAddress, r.from, "%q is a prefix: write %s in [%q]", r.strVal, l.field.Name, r.strVal)
		} else {
			ops.errorf(IDWrongEntry, r.from, `%q is not an IP address: write it in full, such as "203.0.113.7" or "2001:db8::7"`, r.strVal)
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
