package draft

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/rules"
)

// leading are the fields that come first, in the order in which people say them.
var leading = []collectors.Field{
	collectors.FieldProtocol, collectors.FieldState, collectors.FieldPort, collectors.FieldRemotePort, collectors.FieldProcess, collectors.FieldPID,
}

// following are those that follow from others, or that are told apart from them.
var following = collectors.AgeFields().Or(collectors.Fields(collectors.FieldOwners, collectors.FieldOrphan, collectors.FieldUnaccepted,
	collectors.FieldOwned, collectors.FieldEOFRead, collectors.FieldCookie, collectors.FieldInode, collectors.FieldCmdline, collectors.FieldHost))

// shows are the fields that the test gives a socket.
func (d *testDraft) shows(s *Fate) collectors.FieldSet {
	r := s.Record()
	shown := TestReads(d.Program).AndNot(following).And(r.Known)
	drop := func(f collectors.Field) { shown.Remove(collectors.Fields(f)) }
	if s.Socket.Protocol == collectors.TCP {
		drop(collectors.FieldProtocol)
	}
	if s.NS.Name == "host" || s.NS.Name == "" {
		drop(collectors.FieldNetNS)
	}
	if s.Socket.Remote.Netip().IsUnspecified() {
		shown.Remove(collectors.Fields(collectors.FieldRemoteAddr, collectors.FieldRemotePort)) // it has no peer
	}
	if len(s.Facts.Owners) == 0 {
		shown = shown.AndNot(collectors.OwnerFields())
	}
	if d.precise {
		return shown
	}
	outbound := s.Facts.Known.Has(collectors.FieldDirection) && s.Facts.Direction == "outbound"
	if outbound && !d.groupsBy(collectors.FieldPort) {
		drop(collectors.FieldPort) // of its own choice
	}
	if !outbound && !d.groupsBy(collectors.FieldRemotePort) {
		drop(collectors.FieldRemotePort)
	}
	if !d.Program.Reads.Has(collectors.FieldDirection) {
		drop(collectors.FieldDirection)
	}
	return shown
}

func (d *testDraft) groupsBy(f collectors.Field) bool {
	for _, r := range d.Program.Rules {
		for _, k := range r.Group {
			if string(k) == f.String() {
				return true
			}
		}
	}
	return false
}

// socket writes what the test says of the sockets of a case.
func (d *testDraft) socket(c *testCase) string {
	s := &c.members[0]
	shown := d.shows(s)
	var parts []string
	add := func(name, value string) { parts = append(parts, name+": "+value) }
	if c.times > 1 {
		add("times", strconv.Itoa(c.times))
	}
	several := len(s.Facts.Owners) > 1
	if several {
		shown = shown.AndNot(collectors.OwnerFields())
	} else if !d.keys.Has(collectors.FieldPID) && !d.groupsBy(collectors.FieldPID) {
		shown.Remove(collectors.Fields(collectors.FieldPID)) // one of many
	}
	r := s.Record()
	if meant := d.meant(s); meant != "" && d.Anonymiser == nil {
		shown.Remove(collectors.Fields(collectors.FieldNetNS))
		add("netns", scalar(meant))
	}
	d.fields(&r, leading, shown, add)
	switch {
	case several:
		add("owner_processes", d.owners(s.Candidate))
	case s.Socket.Inode == 0 && s.Socket.State != collectors.TimeWait && s.Socket.State != collectors.SynRecv:
		add("owned", "false")
	case s.Socket.Inode != 0 && len(s.Facts.Owners) == 0:
		add("owned", "true")
	}
	d.age(s.Facts.Age, add)
	var rest []collectors.Field
	for _, doc := range collectors.AllFields() {
		rest = append(rest, doc.Field)
	}
	for _, f := range leading {
		shown.Remove(collectors.Fields(f))
	}
	d.fields(&r, rest, shown, add)
	if s.Facts.OthersHidden {
		add("hidden", "true")
	}
	if s.Socket.Subflow {
		add("subflow", "true")
	}
	return strings.Join(parts, ", ")
}

// meant is by what rules that name no namespace like that look at this one: a pattern, or a
// path; "" for nothing.
func (d *testDraft) meant(s *Fate) string {
	for _, name := range s.NS.Meant {
		if name != "all" && slices.ContainsFunc(d.Program.Rules, func(r *rules.Rule) bool { return slices.Contains(r.NetNS(), name) }) {
			return name
		}
	}
	return ""
}

// fields writes those of the fields that are shown and known.
func (d *testDraft) fields(r *collectors.Record, all []collectors.Field, shown collectors.FieldSet, add func(name, value string)) {
	for _, f := range all {
		if v, ok := collectors.Value(f, r); ok && shown.Has(f) && (f != collectors.FieldProcess || v != "") { // "" is for nobody
			add(f.String(), d.value(f, v, r))
		}
	}
}

func (d *testDraft) value(f collectors.Field, v any, r *collectors.Record) string {
	if d.Anonymiser != nil {
		if f == collectors.FieldProcess && r.Owner != nil {
			v = d.processName(r.Owner)
		}
		v = d.Anonymiser.Value(f, v)
	}
	switch v := v.(type) {
	case float64:
		if f.Doc().Type == collectors.TypeSeconds {
			return d.seconds(v, math.Floor)
		}
		return strconv.FormatFloat(v, 'f', -1, 64)
	case netip.Addr:
		if v.Is4() {
			return v.String()
		}
		return strconv.Quote(v.String())
	case string:
		return scalar(v)
	}
	return fmt.Sprint(v)
}

// owners writes several processes.
func (d *testDraft) owners(c *engine.Candidate) string {
	shown := TestReads(d.Program).And(collectors.OwnerFields()).AndNot(following)
	var all []string
	for i := range c.Facts.Owners {
		r := c.RecordOf(i)
		var parts []string
		d.fields(&r, append([]collectors.Field{collectors.FieldProcess, collectors.FieldPID}, others...), shown, func(name, value string) {
			parts = append(parts, name+": "+value)
		})
		all = append(all, "{"+strings.Join(parts, ", ")+"}")
	}
	return "[" + strings.Join(all, ", ") + "]"
}

// others are the fields of a process besides its name and number.
var others = func() (all []collectors.Field) {
	for f := range collectors.OwnerFields().Each {
		if f != collectors.FieldProcess && f != collectors.FieldPID {
			all = append(all, f)
		}
	}
	return all
}()

// age writes how long a socket has been in its state, as it is proven.
func (d *testDraft) age(a collectors.Age, add func(name, value string)) {
	if a.Source == collectors.AgeNone {
		if a.Bounded {
			add("age_max", d.seconds(a.Max, math.Ceil))
		}
		return
	}
	add("age", d.seconds(a.Min, math.Floor))
	watched := a.Source == collectors.AgeEvent || a.Source == collectors.AgeObserved
	if a.Bounded && a.Max-a.Min < 1 && watched {
		return // known exactly
	}
	if a.Bounded {
		add("age_max", d.seconds(a.Max, math.Ceil))
	}
	add("age_source", string(a.Source))
}

// seconds writes a time: whole seconds, if that is precise enough.
func (d *testDraft) seconds(v float64, round func(float64) float64) string {
	const shortTime = 10
	switch {
	case d.precise || v < shortTime:
		return strconv.FormatFloat(math.Round(v*1000)/1000, 'f', -1, 64)
	case v < 2*time.Minute.Seconds():
		return strconv.FormatFloat(round(v), 'f', -1, 64)
	}
	return short(time.Duration(round(v)) * time.Second)
}

// short writes a whole number of seconds as rules files do.
func short(t time.Duration) string {
	const day = 24 * time.Hour
	var text strings.Builder
	for _, unit := range []struct {
		of   time.Duration
		name string
	}{{day, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}} {
		if n := t / unit.of; n > 0 {
			text.WriteString(strconv.Itoa(int(n)) + unit.name)
		}
		t %= unit.of
	}
	return cmp.Or(text.String(), "0")
}

// plainText is text that YAML takes for itself, without quotes: not for a number, a time or
// true.
var plainText = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9_./ @+-]*$`)

// scalar writes a text as YAML takes it.
func scalar(text string) string {
	if plainText.MatchString(text) && !strings.HasSuffix(text, " ") {
		switch strings.ToLower(text) {
		case "true", "false", "yes", "no", "on", "off", "y", "n", "null":
		default:
			return text
		}
	}
	return strconv.Quote(strings.ToValidUTF8(text, "?"))
}
