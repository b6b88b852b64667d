package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/rules"
)

// selectors are the flags with which list and kill select sockets. They become a
// condition that is joined to the expression with "and". Those about processes form a
// condition that must hold for one of the owners.
type selectors struct {
	ports, remotePorts, peers []string
	states, processes, protos []string
	pids, containers, units   []string
}

func (s *selectors) register(d declare) {
	f := d.cmd.Flags()
	f.StringArrayVarP(&s.ports, "port", "p", nil, "local `PORT`, range (21115-21119), set of ports or service (ssh); repeatable")
	f.StringArrayVar(&s.remotePorts, "remote-port", nil, "peer's `PORT`, as for --port; repeatable")
	f.StringArrayVarP(&s.states, "state", "s", nil, "`STATE` or group of ss; all is every state but LISTEN; repeatable")
	// Each takes several values, separated by commas, as --port and --state do.
	f.Var(commaList{&s.processes}, "process", "`NAME` of one of the processes that hold it; repeatable")
	f.Var(commaList{&s.pids}, "pid", "`ID` of one of the processes that hold it; repeatable")
	f.Var(commaList{&s.containers}, "container", "`NAME` of the container of one of them, or the first 6 digits or more of its id; looks in all namespaces; repeatable")
	f.Var(commaList{&s.units}, "unit", "systemd unit (`NAME`) of one of them; repeatable")
	f.Var(commaList{&s.peers}, "peer", "peer's `ADDRESS`, prefix (10/8) or set of them, also with a port (203.0.113.7:443); repeatable")
	f.Var(commaList{&s.protos}, "proto", "protocol `NAME`: tcp, udp or mptcp; repeatable")
	d.complete("port", completion{d.app}.ports)
	d.complete("remote-port", completion{d.app}.ports)
	d.complete("peer", completion{d.app}.peers)
	d.complete("state", completeStates)
	d.complete("container", completeContainers)
	d.complete("proto", fixed("tcp", "udp", "mptcp"))
}

// given reports whether there is any selector.
func (s *selectors) given() bool {
	return len(s.ports)+len(s.remotePorts)+len(s.states)+len(s.peers)+len(s.protos) > 0 || s.aboutOwners()
}

// flags are the selectors as a person writes them.
func (s *selectors) flags() (words []string) {
	for _, f := range []struct {
		name   string
		values []string
	}{
		{"--port", s.ports},
		{"--remote-port", s.remotePorts},
		{"--state", s.states},
		{"--process", s.processes},
		{"--pid", s.pids},
		{"--container", s.containers},
		{"--unit", s.units},
		{"--peer", s.peers},
		{"--proto", s.protos},
	} {
		if len(f.values) > 0 {
			words = append(words, f.name, quotedForShell(strings.Join(f.values, ",")))
		}
	}
	return words
}

// aboutOwners reports whether any selector is about processes.
func (s *selectors) aboutOwners() bool {
	return len(s.processes)+len(s.pids)+len(s.containers)+len(s.units) > 0
}

// netns is where to look, including what --netns says. What may have namespaces of its own
// is looked for in all: containers, and the services that built-in sets are named after,
// which run in containers or on the host. The sets are those that count.
func (s *selectors) netns(flag string, sets map[string]*rules.Set) string {
	if flag == "" && (len(s.containers) > 0 || s.onlyServices(sets)) {
		return "all"
	}
	return flag
}

// onlyServices reports whether --port names built-in sets and nothing else, and no rules
// file gives these names to other ports: those may mean something else in each namespace.
func (s *selectors) onlyServices(sets map[string]*rules.Set) bool {
	builtin := rules.BuiltinSets()
	for _, list := range s.ports {
		for text := range strings.SplitSeq(list, ",") {
			name := strings.TrimSpace(text)
			if set := builtin[name]; set == nil || sets[name] == nil || !set.Equal(sets[name]) {
				return false
			}
		}
	}
	return len(s.ports) > 0
}

// condition turns the selectors into parts of a condition.
func (s *selectors) condition(sets map[string]*rules.Set) ([]string, error) {
	given := map[string][]string{
		"--port": s.ports, "--remote-port": s.remotePorts, "--state": s.states, "--process": s.processes, "--pid": s.pids, "--container": s.containers, "--unit": s.units,
		"--peer": s.peers, "--proto": s.protos,
	}
	for flag, values := range given {
		if slices.ContainsFunc(values, func(v string) bool { return strings.TrimSpace(v) == "" }) {
			return nil, usagef("%s: empty value; refusing to select everything", flag)
		}
	}
	var parts []string
	add := func(part string, err error) error {
		if err == nil && part != "" {
			parts = append(parts, part)
		}
		return err
	}
	e := ends{sets: sets}
	for _, err := range []error{
		add(e.ports("--port", "port", s.ports)), add(e.ports("--remote-port", "remote_port", s.remotePorts)),
		add(s.statePart()), add(e.peers(s.peers)), add(s.protoPart()),
	} {
		if err != nil {
			return nil, err
		}
	}
	return parts, nil
}

func anyOf(field string, values []string) string {
	if len(values) == 0 {
		return ""
	}
	return fmt.Sprintf("%s in [%s]", field, strings.Join(values, ", "))
}

func quoted(values []string) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = strconv.Quote(v)
	}
	return out
}

func either(parts []string) string {
	if len(parts) == 0 {
		return ""
	}
	return "(" + strings.Join(parts, " or ") + ")"
}

func (s *selectors) statePart() (string, error) {
	var mask collectors.StateMask
	for _, list := range s.states {
		for name := range strings.SplitSeq(list, ",") {
			m, ok := collectors.ParseStates(name)
			if !ok {
				known := append(collectors.StateNames(), "all", "connected", "synchronized", "bucket", "big")
				return "", usagef("--state: unknown state %q%s; there are %s", name, rules.Suggest(name, known), strings.Join(known, ", "))
			}
			mask |= m
		}
	}
	var names []string
	for _, n := range collectors.StateNames() {
		if st, _ := collectors.ParseState(n); mask.Has(st) {
			names = append(names, strconv.Quote(n))
		}
	}
	return anyOf("state", names), nil
}

// owner is the condition for one of the owners, "" for none.
func (s *selectors) owner() (string, error) {
	for i, p := range s.pids {
		n, err := strconv.Atoi(p)
		if err != nil || n < 1 {
			return "", usagef("--pid: %q is not a process id: names go to --process", p)
		}
		s.pids[i] = strconv.Itoa(n)
	}
	parts := []string{anyOf("pid", s.pids), anyOf("process", quoted(s.processes)), s.containerPart(), s.unitPart()}
	return strings.Join(slices.DeleteFunc(parts, func(p string) bool { return p == "" }), " and "), nil
}

// containerPart asks for names only if a full id is not enough.
func (s *selectors) containerPart() string {
	var parts []string
	for _, v := range s.containers {
		if len(v) < fullID || !beginsID(v) {
			parts = append(parts, "container == "+strconv.Quote(v))
		}
		if beginsID(v) {
			parts = append(parts, "container_id startsWith "+strconv.Quote(v))
		}
	}
	return either(parts)
}

const (
	fullID      = 64 // hex digits
	shortPrefix = 6  // of an id: a shorter one could match several containers
)

// beginsID reports whether a text is the beginning of a container id.
func beginsID(text string) bool {
	return len(text) >= shortPrefix && len(text) <= fullID && strings.Trim(text, "0123456789abcdef") == ""
}

func (s *selectors) unitPart() string { return anyOf("unit", quoted(s.unitNames())) }

// unitNames are the units that the user means: as with systemctl, .service is optional.
func (s *selectors) unitNames() []string {
	var names []string
	for _, u := range s.units {
		if !strings.HasSuffix(u, ".service") && !strings.HasSuffix(u, ".scope") {
			u += ".service"
		}
		names = append(names, u)
	}
	return names
}

// namesOwner reports whether the selectors are about processes and select this one.
func (s *selectors) namesOwner(o *collectors.Owner) bool {
	is := func(values []string, value string) bool { return len(values) == 0 || slices.Contains(values, value) }
	return s.aboutOwners() && is(s.pids, strconv.Itoa(o.PID)) && is(s.processes, o.Name) && is(s.unitNames(), o.Unit) && s.namesContainer(o)
}

func (s *selectors) namesContainer(o *collectors.Owner) bool {
	return len(s.containers) == 0 || o.Container != "" && slices.ContainsFunc(s.containers, func(v string) bool {
		return v == o.ContainerName || beginsID(v) && strings.HasPrefix(o.Container, v)
	})
}

// namedFirst moves the owners that the selectors name to the front: the first owner
// stands for the socket.
func (s *selectors) namedFirst(c *engine.Candidate) {
	if len(c.Facts.Owners) < 2 || !s.aboutOwners() {
		return
	}
	var named, others []collectors.Owner
	for i := range c.Facts.Owners {
		if o := &c.Facts.Owners[i]; s.namesOwner(o) {
			named = append(named, *o)
		} else {
			others = append(others, *o)
		}
	}
	c.Facts.Owners = slices.Concat(named, others)
}

func (s *selectors) protoPart() (string, error) {
	for _, p := range s.protos {
		if _, ok := collectors.ProtocolNamed(p); !ok {
			return "", usagef("--proto: %q is none of tcp, udp and mptcp", p)
		}
	}
	return anyOf("protocol", quoted(s.protos)), nil
}

// join makes one condition from the expression and the selectors. It checks the
// expression alone, so that positions in its errors are right.
func join(expr []string, parts []string, sets map[string]*rules.Set) (string, error) {
	if len(expr) > 0 {
		if strings.TrimSpace(expr[0]) == "" {
			return "", usagef("empty expression; refusing to select everything")
		}
		if err := rules.CheckExpr(expr[0], sets); err != nil {
			return "", &exitError{code: exitUsage, err: err}
		}
		parts = append(parts, "("+expr[0]+"\n)")
	}
	if len(parts) == 0 {
		return "true", nil
	}
	return strings.Join(parts, " and "), nil
}
