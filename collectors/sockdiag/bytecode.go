package sockdiag

import (
	"net/netip"
	"slices"

	"sockwarden/collectors"
)

// Operations of INET_DIAG_REQ_BYTECODE (include/uapi/linux/inet_diag.h). Ports
// in them are in host order, addresses in network order.
const (
	attrBytecode = 1 // INET_DIAG_REQ_BYTECODE

	opJump       = 1
	opLocalGE    = 2
	opLocalLE    = 3
	opRemoteGE   = 4
	opRemoteLE   = 5
	opLocalCond  = 7
	opRemoteCond = 8
	// There are operations for equality only since Linux 4.16.
)

// The kernel runs through the alternatives one by one, for each socket that is
// in one of the states: more than these are not worth it.
const (
	maxClauses  = 48
	maxRanges   = 96
	maxBytecode = 16 << 10 // bytes: the kernel's check of it takes quadratic time
)

// condition is one part of the filter program: it holds if its test does, or,
// without one, if all (and) or any of its parts do.
type condition struct {
	test  []byte // an operation with its operand; its jumps are set by assemble
	and   bool
	parts []condition
}

// bytecode returns the program that makes the kernel filter a dump by the clauses: a socket
// passes if one of them holds. It is nil if it would filter nothing, and it may let too
// much through. States are not in it, as they have a mask of their own.
func bytecode(clauses []collectors.Clause) []byte {
	clauses = coarser(clauses)
	any := condition{}
	for i := range clauses {
		c := ofClause(&clauses[i])
		if len(c.parts) == 0 {
			return nil
		}
		any.parts = append(any.parts, c)
	}
	if len(any.parts) == 0 || any.size() > maxBytecode {
		return nil
	}
	return assemble(any)
}

func ofClause(c *collectors.Clause) condition {
	all := condition{and: true}
	add := func(parts ...condition) {
		if len(parts) > 0 {
			all.parts = append(all.parts, condition{parts: parts})
		}
	}
	add(ports(c.Local, opLocalGE, opLocalLE)...)
	add(ports(c.Remote, opRemoteGE, opRemoteLE)...)
	var peers []condition
	for _, p := range c.Peers {
		peers = append(peers, hostCond(opRemoteCond, p))
	}
	add(peers...)
	switch c.Family {
	case collectors.IPv4:
		// A mapped listener has no peer to tell it by.
		anyIPv4 := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		add(hostCond(opRemoteCond, anyIPv4), hostCond(opLocalCond, anyIPv4))
	case collectors.IPv6:
		add(hostCond(opRemoteCond, netip.PrefixFrom(netip.IPv6Unspecified(), 0)))
	}
	return all
}

func ports(ranges []collectors.PortRange, ge, le byte) []condition {
	var parts []condition
	for _, r := range ranges {
		switch {
		case r.Low == 0:
			parts = append(parts, port(le, r.High))
		case r.High == 65535:
			parts = append(parts, port(ge, r.Low))
		default:
			parts = append(parts, condition{and: true, parts: []condition{port(ge, r.Low), port(le, r.High)}})
		}
	}
	return parts
}

// port is a comparison: struct inet_diag_bc_op, and another whose member no is
// the port.
func port(op byte, p uint16) condition {
	return condition{test: ne.AppendUint16([]byte{op, 0, 0, 0, 0, 0}, p)}
}

// hostCond is a comparison with struct inet_diag_hostcond: family, length of the
// prefix, padding, port (-1 for any), address. Prefixes of IPv4 also hold for
// IPv4-mapped addresses; the kernel also lets those through by a short prefix of
// IPv6, such as ::/0, which is about IPv6 only.
func hostCond(op byte, p netip.Prefix) condition {
	p = collectors.PlainPrefix(p)
	family := collectors.IPv6
	if p.Addr().Is4() {
		family = collectors.IPv4
	}
	b := []byte{op, 0, 0, 0, byte(family), byte(p.Bits()), 0, 0}
	b = ne.AppendUint32(b, ^uint32(0))
	return condition{test: append(b, p.Addr().AsSlice()...)}
}

const (
	opLen   = 4 // sizeof(struct inet_diag_bc_op)
	jumpLen = opLen
)

// size is the length of the program of c in bytes.
func (c *condition) size() int {
	if c.test != nil {
		return len(c.test)
	}
	n := 0
	for i := range c.parts {
		n += c.parts[i].size()
	}
	if !c.and {
		n += jumpLen * (len(c.parts) - 1)
	}
	return n
}

// assemble returns the program. Jumping to its end accepts a socket, jumping
// four bytes further rejects it.
func assemble(c condition) []byte {
	n := c.size()
	return c.emit(make([]byte, 0, n), n+opLen)
}

// emit appends the code of c. Where c does not hold it jumps to no, an offset
// from the beginning of the program; where it holds it falls through.
func (c *condition) emit(b []byte, no int) []byte {
	if c.test != nil {
		at := len(b)
		b = append(b, c.test...)
		b[at+1] = byte(len(c.test)) // yes: the next operation
		ne.PutUint16(b[at+2:], uint16(no-at))
		return b
	}
	end := len(b) + c.size()
	for i := range c.parts {
		last := i == len(c.parts)-1
		if c.and || last {
			b = c.parts[i].emit(b, no)
			continue
		}
		b = c.parts[i].emit(b, len(b)+c.parts[i].size()+jumpLen)
		b = append(b, opJump, jumpLen)
		b = ne.AppendUint16(b, uint16(end-(len(b)-2)))
	}
	return b
}

// coarser returns clauses that hold for the same sockets and maybe for more, and
// are few enough.
func coarser(clauses []collectors.Clause) []collectors.Clause {
	if len(clauses) > maxClauses {
		one := collectors.Clause{Local: clauses[0].Local, Remote: clauses[0].Remote}
		for i := range clauses[1:] {
			one.Local = either(one.Local, clauses[i+1].Local)
			one.Remote = either(one.Remote, clauses[i+1].Remote)
		}
		clauses = []collectors.Clause{one}
	}
	out := slices.Clone(clauses)
	for i := range out {
		out[i].Local = fewer(out[i].Local, maxRanges/len(out)+1)
		out[i].Remote = fewer(out[i].Remote, maxRanges/len(out)+1)
	}
	return out
}

// either joins two lists of ports, of which an empty one stands for all.
func either(a, b []collectors.PortRange) []collectors.PortRange {
	if len(a) == 0 || len(b) == 0 {
		return nil
	}
	return collectors.MergePorts(slices.Concat(a, b))
}

// fewer closes the smallest gaps until there are at most n ranges.
func fewer(ranges []collectors.PortRange, n int) []collectors.PortRange {
	if len(ranges) <= n {
		return ranges
	}
	gaps := make([]int, 0, len(ranges)-1)
	for i := range ranges[1:] {
		gaps = append(gaps, int(ranges[i+1].Low)-int(ranges[i].High))
	}
	slices.Sort(gaps)
	limit := gaps[len(ranges)-n-1] // that many are closed, or a few more
	out := slices.Clone(ranges[:1])
	for _, r := range ranges[1:] {
		if last := &out[len(out)-1]; int(r.Low)-int(last.High) <= limit {
			last.High = r.High
			continue
		}
		out = append(out, r)
	}
	return out
}
