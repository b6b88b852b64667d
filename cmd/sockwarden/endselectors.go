package main

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"sockwarden/rules"
	"sockwarden/rules/lang"
)

// ends turns what people write of ports and addresses into parts of a condition. A set of
// the rules comes before a service of the same name, as whoever wrote the rules chose it.
type ends struct {
	sets     map[string]*rules.Set
	services services // read once a name is asked for
	read     bool
}

func (e *ends) service(name string) string {
	e.load()
	return e.services.list(name)
}

func (e *ends) load() {
	if !e.read {
		e.services, e.read = hostServices(), true
	}
}

// ports returns the condition for what a flag says of a port: numbers, ranges and names,
// with commas between.
func (e *ends) ports(flag, field string, lists []string) (string, error) {
	var parts []string
	for _, list := range lists {
		for text := range strings.SplitSeq(list, ",") {
			ports, err := e.port(strings.TrimSpace(text))
			if err != nil {
				return "", usagef("%s: %v", flag, err)
			}
			parts = append(parts, field+" in "+ports)
		}
	}
	return either(parts), nil
}

// port returns what one word stands for, as a condition has it.
func (e *ends) port(text string) (string, error) {
	set, err := rules.ParsePorts(text, e.sets)
	if err == nil {
		return set.String(), nil
	}
	if _, ok := e.sets[text]; ok || text == "" || text[0] >= '0' && text[0] <= '9' {
		return "", err
	}
	if ports := e.service(text); ports != "" {
		return ports, nil
	}
	names := slices.Concat(slices.Sorted(maps.Keys(e.sets)), slices.Sorted(maps.Keys(e.services)))
	return "", fmt.Errorf("%q is not a port, a range (21115-21119), a set of ports or a service of %s%s", text, servicesFile, rules.Suggest(text, names))
}

// peers returns the condition for peers: addresses, prefixes and sets of them, each also
// with a port behind a colon.
func (e *ends) peers(texts []string) (string, error) {
	var addrs, parts []string
	for _, text := range texts {
		addr, port := splitPort(text)
		if port == "" {
			if word, ok := e.address(addr); ok {
				addrs = append(addrs, word)
				continue
			}
		}
		part, err := e.peer(text, addr, port)
		if err != nil {
			return "", err
		}
		parts = append(parts, part)
	}
	if len(parts) == 0 {
		return anyOf("remote_addr", addrs), nil
	}
	if len(addrs) > 0 {
		parts = append([]string{anyOf("remote_addr", addrs)}, parts...)
	}
	return either(parts), nil
}

// peer is the condition for a peer that is not just an address.
func (e *ends) peer(text, addr, port string) (string, error) {
	where := ""
	word, isAddr := e.address(addr)
	set, isSet := e.sets[addr]
	switch {
	case isAddr:
		where = "remote_addr in [" + word + "]"
	case isSet && set.Kind() != lang.KindAddr && set.Kind() != lang.KindEmpty:
		return "", usagef("--peer: set %q holds %s, not addresses%s", addr, set.Kind(), portsHint(set))
	case isSet:
		where = "remote_addr in " + addr
	case port == "" || addr != "" && addr != "*":
		return "", e.noPeer(text)
	}
	if port == "" {
		return where, nil
	}
	ports, err := e.port(port)
	if err != nil {
		return "", usagef("--peer: %q: %v", text, err)
	}
	part := "remote_port in " + ports
	if where != "" {
		part = "(" + where + " and " + part + ")"
	}
	return part, nil
}

func portsHint(set *rules.Set) string {
	if set.IsPorts() {
		return ": --remote-port is for ports"
	}
	return ""
}

func (e *ends) noPeer(text string) error {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(e.sets)) {
		if e.sets[name].Kind() == lang.KindAddr {
			names = append(names, name)
		}
	}
	hint := rules.Suggest(text, names)
	if hint == "" && len(names) > 0 {
		hint = "; sets are " + strings.Join(names, ", ")
	}
	return usagef("--peer: %q is not an address, a prefix or a set of addresses (203.0.113.7, 203.0.113.0/24, 10/8, fd7a::/48), with or without a port "+
		"(203.0.113.7:443, [fd7a::1]:443); names of hosts are not looked up%s", text, hint)
}

// address returns an address or prefix as a condition has it. As for ss the zeros at the
// end of an IPv4 prefix may be left out.
func (e *ends) address(text string) (string, bool) {
	if _, err := netip.ParseAddr(text); err == nil {
		return strconv.Quote(text), true
	}
	if _, err := netip.ParsePrefix(text); err == nil {
		return strconv.Quote(text), true
	}
	addr, bits, ok := strings.Cut(text, "/")
	if dots := strings.Count(addr, "."); ok && dots < 3 {
		full := addr + strings.Repeat(".0", 3-dots) + "/" + bits
		if _, err := netip.ParsePrefix(full); err == nil {
			return strconv.Quote(full), true
		}
	}
	return "", false
}

// splitPort takes apart ADDRESS:PORT and [ADDRESS]:PORT; an IPv6 address without brackets
// has no port.
func splitPort(text string) (addr, port string) {
	if inner, rest, ok := strings.Cut(strings.TrimPrefix(text, "["), "]"); ok && strings.HasPrefix(text, "[") {
		after, port, found := strings.Cut(rest, ":")
		if after == "" || strings.HasPrefix(after, "/") {
			if found && port == "" {
				return text, ""
			}
			return inner + after, port
		}
		return text, ""
	}
	if i := strings.LastIndexByte(text, ':'); i >= 0 && strings.Count(text, ":") == 1 && i+1 < len(text) {
		return text[:i], text[i+1:]
	}
	return text, ""
}

// namesSets reports whether a selector may name a set of the rules.
func (s *selectors) namesSets() bool {
	e := ends{}
	for list := range slices.Values(slices.Concat(s.ports, s.remotePorts)) {
		for text := range strings.SplitSeq(list, ",") {
			if _, err := rules.ParsePorts(strings.TrimSpace(text), nil); err != nil {
				return true
			}
		}
	}
	return slices.ContainsFunc(s.peers, func(text string) bool {
		addr, port := splitPort(text)
		_, plain := e.address(addr)
		_, err := rules.ParsePorts(port, nil)
		return !plain && addr != "" && addr != "*" || port != "" && err != nil
	})
}
