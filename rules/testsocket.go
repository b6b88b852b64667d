package rules

import (
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"sockwarden/collectors"
	"sockwarden/rules/lang"
)

// TestSocket is what a test says of one socket, or of several that are alike.
type TestSocket struct {
	Name  string
	At    TestPlace
	Times int // how many there are
	// Given are the fields that the test says: bool, float64, string or netip.Addr. All
	// others are unknown.
	Given map[collectors.Field]any
	// Owners are the processes that have it, where there are several.
	Owners   []TestOwner
	Outcomes TestOutcomes
	TestGuards
}

// TestOwner is what a test says of one of several processes that have a socket.
type TestOwner map[collectors.Field]any

// TestGuards are facts that only guards read.
type TestGuards struct {
	Session bool // it is the invoking session
	Hidden  bool // a process that nobody can examine may have it, too
	Subflow bool // of an MPTCP connection
}

// over is a socket with what it does not say from another one.
func (s *TestSocket) over(base *TestSocket) *TestSocket {
	if base == nil {
		return s
	}
	both := *s
	both.Given = maps.Clone(base.Given)
	maps.Copy(both.Given, s.Given)
	if s.Owners == nil {
		both.Owners = base.Owners
	}
	both.TestGuards = TestGuards{s.Session || base.Session, s.Hidden || base.Hidden, s.Subflow || base.Subflow}
	if both.Outcomes == nil {
		both.Outcomes = base.Outcomes
	}
	return &both
}

// With is the socket after it has become what t says. What enters another state begins there
// with an unknown age, unless t says one.
func (s *TestSocket) With(t *TestSocket) *TestSocket {
	now := *s
	now.Given = maps.Clone(s.Given)
	enters := s.Enters(t)
	for f := range collectors.AgeFields().Each {
		_, age := t.Given[collectors.FieldAge]
		if enters || age {
			delete(now.Given, f)
		}
	}
	maps.Copy(now.Given, t.Given)
	if t.Owners != nil {
		now.Owners = t.Owners
	}
	if t.Outcomes != nil {
		now.Outcomes = t.Outcomes
	}
	now.TestGuards = TestGuards{s.Session || t.Session, s.Hidden || t.Hidden, s.Subflow || t.Subflow}
	return &now
}

// Enters reports whether the socket enters another state by becoming what t says.
func (s *TestSocket) Enters(t *TestSocket) bool {
	state, ok := t.Given[collectors.FieldState]
	return ok && state != s.Given[collectors.FieldState]
}

// socketParser reads one socket.
type socketParser struct {
	*testParser
	at map[collectors.Field]*yaml.Node
}

var socketKeys = keys[*socketParser, *TestSocket]{
	{name: "times", doc: "so many sockets that are alike", form: countForm, read: func(p *socketParser, s *TestSocket, n *yaml.Node) { s.Times = p.count(n, "times") }},
	{name: "outcomes", doc: "results of effects on it", form: refTo("outcomes"), read: func(p *socketParser, s *TestSocket, n *yaml.Node) { s.Outcomes = p.outcomes(n) }},
	{name: "session", doc: "it is your own ssh session", form: boolForm, read: func(p *socketParser, s *TestSocket, n *yaml.Node) { s.Session = p.yesOrNo(n, "session") }},
	{name: "hidden", doc: "a process that nobody can examine may have it, too", form: boolForm, read: func(p *socketParser, s *TestSocket, n *yaml.Node) { s.Hidden = p.yesOrNo(n, "hidden") }},
	{name: "subflow", doc: "it belongs to an MPTCP connection", form: boolForm, read: func(p *socketParser, s *TestSocket, n *yaml.Node) { s.Subflow = p.yesOrNo(n, "subflow") }},
	{name: ownersKey, doc: "the processes that have it, if there are several", form: listForm(refTo("process")), read: (*socketParser).owners},
}

// ownersKey is as in JSON.
const ownersKey = "owner_processes"

// sockets reads {a: {state: CLOSE_WAIT, ..}, ..} and notes the names.
func (p *testParser) sockets(n *yaml.Node, defaults *TestSocket, known map[string]bool) (all []*TestSocket) {
	entries, _ := p.entries(n, "sockets")
	for _, e := range entries {
		name := e.key.Value
		switch {
		case known[name]:
			p.errorf(idDuplicateName, e.key, "the test has a socket %q already", name)
		case name == Nobody:
			p.errorf(idBadName, e.key, "%s is what a test calls groups without sockets: choose another name", Nobody)
		}
		known[name] = true
		before := p.problems.seen
		s := p.socket(name, e.value, defaults)
		if p.problems.seen == before {
			p.complete(s, e.value)
		}
		all = append(all, s)
	}
	return all
}

// complete reports a socket that cannot be.
func (p *testParser) complete(s *TestSocket, n *yaml.Node) {
	if _, ok := s.Given[collectors.FieldState]; !ok {
		p.errorf(idMissing, n, "socket %s needs a state: write state: CLOSE_WAIT", s.Name)
		return
	}
	if _, err := s.Record(); err != nil {
		p.errorf(idWrongTest, n, "socket %s cannot be: %v", s.Name, err)
	}
}

// changes reads what changes of known sockets.
func (p *stepParser) changes(n *yaml.Node) (all []*TestSocket) {
	entries, _ := p.entries(n, "set")
	for _, e := range entries {
		if !p.knows(e.key, p.known) {
			continue
		}
		before := p.problems.seen
		t := p.socket(e.key.Value, e.value, nil)
		if t.Times != 1 {
			p.errorf(idWrongTest, e.value, "times is for sockets that appear: add more of them under add")
		}
		all = append(all, t)
		if p.problems.seen > before || p.now[t.Name] == nil {
			continue
		}
		p.now[t.Name] = p.now[t.Name].With(t)
		if _, err := p.now[t.Name].Record(); err != nil {
			p.errorf(idWrongTest, e.value, "socket %s cannot become that: %v", t.Name, err)
		}
	}
	return all
}

// socket reads the fields of one socket, and takes the others from the defaults.
func (p *testParser) socket(name string, n *yaml.Node, defaults *TestSocket) *TestSocket {
	s := &TestSocket{Name: name, At: placeOf(n), Times: 1, Given: map[collectors.Field]any{}}
	sp := &socketParser{p, map[collectors.Field]*yaml.Node{}}
	p.fieldsOf(n, "a socket", s.Given, func(e entry) bool {
		k, ok := socketKeys.find(e.key.Value)
		if ok {
			k.read(sp, s, e.value)
		}
		return ok
	}, socketKeys.names())
	return s.over(defaults)
}

func (p *socketParser) owners(s *TestSocket, n *yaml.Node) {
	for _, k := range p.items(n, ownersKey, ownersKey+": [{pid: 7, process: app}]") {
		o := TestOwner{}
		p.fieldsOf(k, "a process", o, func(e entry) bool {
			f, isField := collectors.FieldByName(e.key.Value)
			if isField && !collectors.OwnerFields().Has(f) {
				p.errorf(idWrongTest, e.key, "%s is not a field of a process", e.key.Value)
			}
			return isField && !collectors.OwnerFields().Has(f)
		}, nil)
		s.Owners = append(s.Owners, o)
	}
}

// fieldsOf reads a mapping of fields; special takes the other keys.
func (p *testParser) fieldsOf(n *yaml.Node, what string, given map[collectors.Field]any, special func(entry) bool, others []string) {
	entries, _ := p.entries(n, what)
	for _, e := range entries {
		if special(e) {
			continue
		}
		f, ok := collectors.FieldByName(e.key.Value)
		switch {
		case !ok:
			names := append(fieldNames(), others...)
			p.errorf(idUnknownKey, e.key, "%s has no field %q%s: rules fields lists them", what, e.key.Value, p.suggest(e.key.Value, names))
		case f == collectors.FieldCookie || f == collectors.FieldInode:
			p.errorf(idWrongTest, e.key, "a test gives each socket its own %s: whether somebody has it says owned", f)
		default:
			if v, ok := p.value(f, e.value); ok {
				given[f] = v
			}
		}
	}
}

func fieldNames() (names []string) {
	for _, d := range collectors.AllFields() {
		names = append(names, d.Name)
	}
	return names
}

// value reads the value of a field.
func (p *testParser) value(f collectors.Field, n *yaml.Node) (v any, ok bool) {
	d := f.Doc()
	text, ok := p.text(n, d.Name)
	if !ok {
		return nil, false
	}
	switch d.Type {
	case collectors.TypeBool:
		before := p.problems.seen
		v := p.yesOrNo(n, d.Name)
		return v, p.problems.seen == before
	case collectors.TypeNumber, collectors.TypePort:
		return p.number(d, n, text)
	case collectors.TypeSeconds:
		t, err := lang.ParseDuration(text)
		if err != nil {
			p.errorf(lang.IDWrongValue, n, "%s: %v", d.Name, err)
		}
		return t.Seconds(), err == nil
	case collectors.TypeAddr:
		a, err := netip.ParseAddr(text)
		if err != nil || a.Zone() != "" {
			p.errorf(lang.IDWrongValue, n, "%s is an address, not %s", d.Name, nodeKind(n))
			return nil, false
		}
		return a.Unmap(), true
	case collectors.TypeString:
		if f == collectors.FieldState {
			return p.state(n, text)
		}
		if len(d.Values) > 0 && !slices.Contains(d.Values, text) {
			p.errorf(lang.IDWrongValue, n, "%s is %s, not %q%s", d.Name, lang.Choices(d.Values), text, p.suggest(text, d.Values))
			return nil, false
		}
	}
	return text, true
}

func (p *testParser) number(d *collectors.FieldDoc, n *yaml.Node, text string) (any, bool) {
	v, err := strconv.ParseFloat(strings.ReplaceAll(text, "_", ""), 64)
	const most = 1 << 53 // beyond it not every whole number is one
	switch {
	case err != nil || v != v || v < 0 || v > most || n.Tag == "!!str":
		p.errorf(lang.IDWrongValue, n, "%s is a number of at least 0, not %s", d.Name, nodeKind(n))
		return nil, false
	case d.Type == collectors.TypePort && v > 65535:
		p.errorf(lang.IDWrongValue, n, "%s is a port up to 65535, not %s", d.Name, nodeKind(n))
		return nil, false
	}
	return v, true
}

func (p *testParser) state(n *yaml.Node, text string) (any, bool) {
	st, ok := collectors.ParseState(text)
	if !ok {
		p.errorf(lang.IDWrongValue, n, "unknown state %q%s", text, p.suggest(strings.ToUpper(text), collectors.StateNames()))
		return nil, false
	}
	return st.String(), true
}
