package draft

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"sockwarden/collectors"
	"sockwarden/rules"
)

const (
	// mostKinds is how many values a field may have that tells cases apart: of more, as of
	// addresses, one stands for all.
	mostKinds = 8
	// mostCases is how many cases a test has.
	mostCases = 40
	// mostSockets is how many sockets a test has: files with more are refused.
	mostSockets = 100_000
)

// testCase are sockets that are alike: what names them is equal, and each part of each
// condition says the same of them.
type testCase struct {
	name    string
	times   int    // how many of them the test has
	members []Fate // the youngest first: it stands for all
}

// group makes cases of the sockets.
func (d *testDraft) group() {
	d.keys = d.kinds()
	byKey := map[string]*testCase{}
	for i := range d.Sockets {
		key := d.key(&d.Sockets[i])
		c := byKey[key]
		if c == nil {
			c = &testCase{}
			byKey[key] = c
			d.cases = append(d.cases, c)
		}
		c.members = append(c.members, d.Sockets[i])
	}
	d.fewer()
	most := mostSockets
	if len(d.Sockets) > mostSockets {
		most = mostSockets / len(d.cases)
		d.notes = append(d.notes, fmt.Sprintf("A test has %d sockets at most: times is %d at most here.", mostSockets, most))
	}
	for _, c := range d.cases {
		c.times = min(len(c.members), most)
		slices.SortStableFunc(c.members, func(x, y Fate) int { return cmp.Compare(x.Facts.Age.Min, y.Facts.Age.Min) })
		c.name = d.nameOf(&c.members[0])
	}
}

// fewer keeps the cases with the most sockets.
func (d *testDraft) fewer() {
	if len(d.cases) <= mostCases {
		return
	}
	largest := slices.Clone(d.cases)
	slices.SortStableFunc(largest, func(x, y *testCase) int { return cmp.Compare(len(y.members), len(x.members)) })
	out := map[*testCase]bool{}
	left := 0
	for _, c := range largest[mostCases:] {
		out[c] = true
		left += len(c.members)
	}
	d.cases = slices.DeleteFunc(d.cases, func(c *testCase) bool { return out[c] })
	d.notes = append(d.notes, fmt.Sprintf("There are %d kinds of them: the test has the %d with the most, without %s.", len(largest), mostCases, sockets(left)))
}

// kinds are the fields that tell cases apart: those with few values.
func (d *testDraft) kinds() (keys collectors.FieldSet) {
	values := map[collectors.Field]map[any]bool{}
	for i := range d.Sockets {
		r := d.Sockets[i].Record()
		for f := range d.shows(&d.Sockets[i]).Each {
			if f.Doc().Type == collectors.TypeNumber && f != collectors.FieldPID || f.Doc().Type == collectors.TypeSeconds {
				continue
			}
			v, _ := collectors.Value(f, &r)
			if values[f] == nil {
				values[f] = map[any]bool{}
			}
			values[f][v] = true
		}
	}
	for f, all := range values {
		if len(all) <= mostKinds {
			keys.Add(collectors.Fields(f))
		}
	}
	return keys
}

// key is equal for sockets of one case.
func (d *testDraft) key(s *Fate) string {
	var b strings.Builder
	r := s.Record()
	fmt.Fprintf(&b, "%v %v %v %v %v %v ", s.Socket.Protocol, s.Socket.State, s.Socket.Inode != 0, s.Socket.Subflow, s.Facts.OthersHidden, s.Facts.Age.Source)
	for f := range d.keys.And(d.shows(s)).Each {
		v, ok := collectors.Value(f, &r)
		fmt.Fprintf(&b, "%d %q %v ", f, fmt.Sprint(v), ok)
	}
	for i := range s.Facts.Owners {
		fmt.Fprintf(&b, "%q ", s.Facts.Owners[i].Name)
	}
	var values []rules.Tri
	value := func(c *rules.Cond) {
		if c == nil {
			return
		}
		record := s.RecordOf(s.Decider(c))
		values = c.Values(&record, values[:0])
		fmt.Fprintf(&b, "%d ", values)
	}
	for _, rule := range d.Program.Rules {
		value(rule.When)
		value(rule.Unless)
		// What a rule counts together stays together, and the rest apart.
		if rule.Grouped() && s.Eval(rule.When) != rules.False {
			for _, k := range rule.Group {
				v, ok := rules.GroupValue(k, &r)
				fmt.Fprintf(&b, "%q %v ", fmt.Sprint(v), ok)
			}
		}
	}
	for _, p := range d.Program.Protect {
		value(p.When)
	}
	return b.String()
}

// nameOf makes a name that no other case has.
func (d *testDraft) nameOf(s *Fate) string {
	name := strings.ToLower(strings.ReplaceAll(s.Socket.State.String(), "_", "-"))
	if len(s.Facts.Owners) > 0 {
		if of := plainName(s.Facts.Owners[0].Comm); of != "" {
			name = of + "-" + name
		}
	}
	if s.Socket.Protocol != collectors.TCP {
		name += "-" + s.Socket.Protocol.String()
	}
	d.names[name]++
	if n := d.names[name]; n > 1 {
		name = fmt.Sprintf("%s-%d", name, n)
	}
	return name
}

// plainName is what of the name of a process needs no quotes.
func plainName(text string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		if r < unicode.MaxASCII && (unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-') {
			return unicode.ToLower(r)
		}
		return -1
	}, text), "-")
}
