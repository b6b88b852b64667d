package rules

import (
	"slices"

	"sockwarden/collectors"
)

// index finds the rules that can match a socket by its state and ports: a thousand narrow
// rules cost like one. Rules are named by their place in the program.
type index [16]stateIndex

type stateIndex struct {
	local, remote segments // rules for few local, or else few remote, ports
	other         []int
}

// segments cuts the ports into pieces, each with the same rules throughout.
type segments struct {
	from  []uint16 // where each piece begins, sorted; the first begins at 0
	rules [][]int
}

// widePorts is the number of ports from which a rule no longer counts as being for few.
const widePorts = 1 << 14

func newIndex(rules []*Rule) index {
	var x index
	for s := range x {
		var local, remote []int
		for i, r := range rules {
			switch {
			case !r.may.States.Has(collectors.State(s)):
			case fewPorts(r.may.Local):
				local = append(local, i)
			case fewPorts(r.may.Remote):
				remote = append(remote, i)
			default:
				x[s].other = append(x[s].other, i)
			}
		}
		x[s].local = newSegments(local, func(i int) []collectors.PortRange { return rules[i].may.Local })
		x[s].remote = newSegments(remote, func(i int) []collectors.PortRange { return rules[i].may.Remote })
	}
	return x
}

func fewPorts(ranges []collectors.PortRange) bool {
	n := 0
	for _, r := range ranges {
		n += int(r.High) - int(r.Low) + 1
	}
	return ranges != nil && n < widePorts
}

func newSegments(rules []int, ports func(rule int) []collectors.PortRange) segments {
	if len(rules) == 0 {
		return segments{}
	}
	cuts := []uint16{0}
	for _, i := range rules {
		for _, r := range ports(i) {
			cuts = append(cuts, r.Low)
			if r.High < 65535 {
				cuts = append(cuts, r.High+1)
			}
		}
	}
	slices.Sort(cuts)
	s := segments{from: slices.Compact(cuts)}
	s.rules = make([][]int, len(s.from))
	for _, i := range rules {
		for _, r := range ports(i) {
			k, _ := slices.BinarySearch(s.from, r.Low)
			for ; k < len(s.from) && s.from[k] <= r.High; k++ {
				s.rules[k] = append(s.rules[k], i)
			}
		}
	}
	return s
}

func (s *segments) at(port uint16) []int {
	if len(s.from) == 0 {
		return nil
	}
	k, exact := slices.BinarySearch(s.from, port)
	if !exact {
		k--
	}
	return s.rules[k]
}

// find returns the rules that can match, in their order. Every source shows what it asks
// of a socket. The slice is valid until buf is used again.
func (x *index) find(sock *collectors.Socket, buf []int) []int {
	s := &x[sock.State&15]
	local, remote := s.local.at(sock.LocalPort), s.remote.at(sock.RemotePort)
	switch {
	case len(local) == 0 && len(remote) == 0:
		return s.other
	case len(s.other) == 0 && len(remote) == 0:
		return local
	case len(s.other) == 0 && len(local) == 0:
		return remote
	}
	buf = append(append(append(buf, local...), remote...), s.other...)
	slices.Sort(buf)
	return buf
}
