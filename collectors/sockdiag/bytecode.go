package sockdiag

import (
	"net/netip"
	"slices"

	"sockwarden/collectors"
)

// Operations of INET_DIAG_REQ_BYTECODE (include/uapi/linux/inet_diag.h). Their ports are
// in host order, their addresses in network order.
const (
	attrBytecode = 1 // INET_DIAG_REQ_BYTECODE

	opJump       = 1
	opLocalGE    = 2
	opLocalLE    = 3
	opRemoteGE   = 4
	opRemoteLE   = 5
	opLocalCond  = 7
	opRemoteCond = 8
	// Operations for equality exist only since Linux 4.16.
)

// For each socket in a wanted state the kernel tries the alternatives one by one: beyond
// these limits filtering is not worth it.
const (
	maxClauses  = 48
	maxRanges   = 96
	maxBytecode = 16 << 10 // bytes: the kernel's check takes quadratic time
)

// condition is one part of the filter program. With a test it holds if the test does;
// without one, if all (and) or any of its parts hold.
type condition struct {
	test  []byte // an operation with its operand; assemble sets its jumps
	and   bool
	parts []condition
}

// bytecode returns the program by which the kernel filters a dump: a socket passes if one
// of the clauses holds. It is nil if it would filter nothing, and it may let too much
// through. States are not part of it: they have a mask of their own.
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
		// A mapped listener has no peer that would show its family.
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

// port is a comparison with a port: struct inet_diag_bc_op, followed by another one whose
// member no holds the port.
func port(op byte, p uint16) condition {
	return condition{test: ne.AppendUint16([]byte{op, 0, 0, 0, 0, 0}, p)}
}

// hostCond is a comparison with struct inet_diag_hostcond: family, prefix length,
// padding, port (-1 for any), address. IPv4 prefixes also match IPv4-mapped addresses.
// The kernel also lets those through for a short IPv6 prefix such as ::/0, which means
// only IPv6.
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

// size is the length of the program in bytes.
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

// assemble returns the program. A jump to its end accepts a socket; a jump four bytes
// beyond rejects it.
func assemble(c condition) []byte {
	n := c.size()
	return c.emit(make([]byte, 0, n), n+opLen)
}

// emit appends the code of c. If c holds, the code falls through; if not, it jumps to no,
// an offset from the beginning of the program.
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

// coarser returns few enough clauses that hold for the same sockets and perhaps for more.
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

// either joins two lists of ports; an empty list stands for all ports.
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
	limit := gaps[len(ranges)-n-1] // this closes enough gaps, or more where several are equal
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
