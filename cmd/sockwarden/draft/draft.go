package draft

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/rules"
	"sockwarden/rules/lang"
)

// Selection is what to make a rule of.
type Selection struct {
	Name    string   // of the rule
	Command []string // what the user typed, for the comment
	Made    time.Time
	// Condition is what selects the sockets, as far as it means the same tomorrow; "" for
	// nothing that does. Dropped names the rest: cookies, process ids, single peers.
	Condition string
	Dropped   []string
	Sets      map[string]*rules.Set // that Condition can name
	NetNS     string                // where to look, "" for the host
	Sockets   []*engine.Candidate
}

// draft is a rule in the making.
type draft struct {
	*Selection
	given collectors.FieldSet // what Condition reads
	parts []string
	// states are those that the rule is about.
	states collectors.StateMask
	notes  []string
	cond   *lang.Condition
	udp    bool
}

// closing are the states of connections that one end has closed.
var closing = collectors.Mask(collectors.CloseWait, collectors.FinWait1, collectors.FinWait2, collectors.Closing, collectors.LastAck)

// Reads are the fields that a rule is generalised by.
func Reads() collectors.FieldSet {
	return collectors.Fields(collectors.FieldState, collectors.FieldPort, collectors.FieldRemotePort, collectors.FieldDirection,
		collectors.FieldProcess, collectors.FieldOwned, collectors.FieldAge, collectors.FieldIdle)
}

// Rule returns the text of a rules file. Its condition is true of the sockets that are old
// enough; the error is about one that cannot be made.
func Rule(s *Selection) (string, error) {
	d := &draft{Selection: s}
	if err := d.begin(); err != nil {
		return "", err
	}
	d.addStates()
	d.addProtocol()
	d.addAnchors()
	d.addTimes()
	text := strings.Join(d.parts, " and ")
	cond, errs := lang.Compile(text, &lang.Scope{Sets: s.Sets})
	if cond == nil {
		return "", fmt.Errorf("no rule can be made of this selection: %s: %s", text, errs[0].Message)
	}
	d.cond = cond
	return d.file(), nil
}

// begin takes over the condition that was given.
func (d *draft) begin() error {
	for _, c := range d.Sockets {
		d.states |= collectors.Mask(c.Socket.State)
		d.udp = d.udp || c.Socket.Protocol == collectors.UDP
	}
	if d.Condition == "" {
		return nil
	}
	cond, errs := lang.Compile(d.Condition, &lang.Scope{Sets: d.Sets})
	if cond == nil {
		return fmt.Errorf("%s: %s", d.Condition, errs[0].Message)
	}
	d.given = cond.Reads
	d.parts = append(d.parts, d.Condition)
	return nil
}

// addStates names the states, if the selection does not. A rule is about connections or
// about listeners: nobody means both.
func (d *draft) addStates() {
	listen := collectors.Mask(collectors.Listen)
	if d.given.Has(collectors.FieldState) {
		return
	}
	if d.states.Has(collectors.Listen) && d.states != listen {
		d.states &^= listen
		d.notes = append(d.notes, "The listeners among them are left out.")
	}
	d.add("state", stateNames(d.states))
}

func stateNames(states collectors.StateMask) (names []string) {
	for s := range collectors.State(12) {
		if states.Has(s) {
			names = append(names, strconv.Quote(s.String()))
		}
	}
	return names
}

// addProtocol says the protocol of what is not TCP: a rule that does not is about TCP.
func (d *draft) addProtocol() {
	var protocols []string
	for _, c := range d.Sockets {
		protocols = append(protocols, strconv.Quote(c.Socket.Protocol.String()))
	}
	slices.Sort(protocols)
	protocols = slices.Compact(protocols)
	if d.given.Has(collectors.FieldProtocol) || slices.Equal(protocols, []string{`"tcp"`}) {
		return
	}
	d.add("protocol", protocols)
}

// add appends that a field is one of some values; nothing if there are none.
func (d *draft) add(field string, values []string) {
	if len(values) > 0 {
		d.parts = append(d.parts, oneOf(field, values))
	}
}

func oneOf(field string, values []string) string {
	if len(values) == 1 {
		return field + " == " + values[0]
	}
	return field + " in [" + strings.Join(values, ", ") + "]"
}
