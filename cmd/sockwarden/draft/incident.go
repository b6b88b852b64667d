package draft

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/engine/recording"
	"sockwarden/engine/ruletest"
	"sockwarden/rules"
)

// Incident is what to make a test of.
type Incident struct {
	Name    string   // of the test
	Command []string // what the user typed, for the comment; nil to leave it out
	Made    time.Time
	// Place is where the sockets are, as "on the host".
	Place string
	// Start is when the sockets were like that, and Zone names a time zone, "" for UTC.
	Start time.Time
	Zone  string
	// Rules are the files that judged, as a test file names them.
	Rules   []string
	Program *rules.Program
	Sockets []Fate
	// Anonymiser replaces addresses and names, nil to show them.
	Anonymiser *recording.Anonymiser
	// Say tells what the rules say of the sockets of a test (ruletest.Say).
	Say func(text string) ([][]ruletest.Saying, error)
}

// Fate is a socket with what the rules say of it where it is.
type Fate struct {
	*engine.Candidate
	Rule     string // "" for none
	Decision string // or rules.ExpectNone
	Reason   string
}

// TestReads are the fields that a test of some rules shows: those that the rules read, and
// those by which a rule is made. Arguments of programs can be secrets, and cookies and
// inodes mean nothing tomorrow.
func TestReads(p *rules.Program) collectors.FieldSet {
	return Reads().Or(p.Reads).Or(collectors.Fields(collectors.FieldProtocol, collectors.FieldNetNS, collectors.FieldPID)).AndNot(collectors.Fields(collectors.FieldCmdline, collectors.FieldCookie, collectors.FieldInode))
}

// testDraft is a test in the making.
type testDraft struct {
	*Incident
	precise bool // values as they are, and all that rules read
	keys    collectors.FieldSet
	cases   []*testCase
	names   map[string]int
	notes   []string
}

// Test returns the text of a test file that passes: it expects what the rules say of these
// sockets in the invented world of a test, and tells where that is not what they say of them
// where they are.
func Test(in *Incident) (string, error) {
	var best string
	fewest := -1
	// Round times first. They can lie on the other side of a threshold.
	for _, precise := range []bool{false, true} {
		d := &testDraft{Incident: in, precise: precise, names: map[string]int{}}
		d.group()
		text, other, err := d.text()
		if err != nil {
			return "", err
		}
		if fewest < 0 || other < fewest {
			best, fewest = text, other
		}
		if fewest == 0 {
			break
		}
	}
	return best, nil
}

// text writes the file, and counts the cases that fare otherwise in it.
func (d *testDraft) text() (text string, other int, err error) {
	head := d.head()
	// What would come, whatever is expected; then once more, where rules wait.
	steps, err := d.Say(head + "    expect: []\n")
	if err != nil {
		return "", 0, err
	}
	var b strings.Builder
	wait := waits(steps[0])
	if wait == 0 {
		b.WriteString("    expect:\n")
		other = d.expect(&b, "      ", steps[0], true)
	} else {
		if steps, err = d.Say(head + fmt.Sprintf("    steps:\n      - expect: []\n      - advance: %s\n        expect: []\n", short(wait))); err != nil {
			return "", 0, err
		}
		b.WriteString("    steps:\n      - expect:\n")
		other = d.expect(&b, "          ", steps[0], true)
		fmt.Fprintf(&b, "      - advance: %s            # as long as they wait\n        expect:\n", short(wait))
		d.expect(&b, "          ", steps[1], false)
	}
	return d.comment(steps[0]) + head + b.String(), other, nil
}

// waits is how long it takes until everything that only waits is decided on, 0 if nothing
// does.
func waits(all []ruletest.Saying) (longest time.Duration) {
	const look = 10 * time.Second // from look to look
	for i := range all {
		if all[i].Decision == "pending" {
			longest = max(longest, look, all[i].For)
		}
	}
	return longest
}

// head is everything up to what is expected.
func (d *testDraft) head() string {
	var b strings.Builder
	files := make([]string, len(d.Rules))
	for i, file := range d.Rules {
		files[i] = scalar(file)
	}
	fmt.Fprintf(&b, "rules: [%s]\n", strings.Join(files, ", "))
	fmt.Fprintf(&b, "start: %s\n", d.Start.Format("2006-01-02T15:04:05"))
	if d.Zone != "" {
		fmt.Fprintf(&b, "timezone: %s\n", scalar(d.Zone))
	}
	fmt.Fprintf(&b, "tests:\n  - name: %s\n    sockets:\n", scalar(d.Name))
	for _, c := range d.cases {
		fmt.Fprintf(&b, "      %s: {%s}\n", c.name, d.socket(c))
	}
	return b.String()
}

// expect writes what came as what is expected, and counts the cases that fare otherwise
// where the sockets are.
func (d *testDraft) expect(b *strings.Builder, indent string, said []ruletest.Saying, compare bool) (other int) {
	of := map[string][]ruletest.Saying{}
	for i := range said {
		of[said[i].Socket] = append(of[said[i].Socket], said[i])
	}
	why := ""
	for _, c := range d.cases {
		all := of[c.name]
		if compare && !c.faresAs(all) {
			other++
			wrappedAt(b, indent+"#", d.Place+": "+d.fates(c))
		}
		if len(all) == 1 && all[0].Decision == rules.ExpectNone && all[0].Why != why {
			why = all[0].Why
			wrappedAt(b, indent+"#", printable(why))
		}
		fmt.Fprintf(b, "%s%s: %s\n", indent, c.name, expectation(all))
	}
	if all := of[rules.Nobody]; slices.ContainsFunc(all, func(s ruletest.Saying) bool { return len(s.Actions) > 0 }) {
		wrappedAt(b, indent+"#", "a group of the whole host lacks sockets that are not in this test")
		fmt.Fprintf(b, "%s%s: %s\n", indent, rules.Nobody, expectation(all))
	}
	return other
}

// expectation writes what is expected of the sockets of one name.
func expectation(all []ruletest.Saying) string {
	if len(all) == 1 {
		return expected(&all[0], "")
	}
	parts := make([]string, len(all))
	for i := range all {
		parts[i] = expected(&all[i], fmt.Sprintf(", count: %d", all[i].Count))
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

func expected(s *ruletest.Saying, more string) string {
	if s.Decision == rules.ExpectNone {
		if more == "" {
			return rules.ExpectNone
		}
		return "{decision: none" + more + "}"
	}
	text := fmt.Sprintf("{rule: %s, decision: %s", scalar(s.Rule), s.Decision)
	switch len(s.Actions) {
	case 0:
	case 1:
		text += ", action: " + scalar(s.Actions[0])
	default:
		texts := make([]string, len(s.Actions))
		for i, a := range s.Actions {
			texts[i] = scalar(a)
		}
		text += ", actions: [" + strings.Join(texts, ", ") + "]"
	}
	return text + more + "}"
}

// fate is what can be compared of what the rules say.
type fate struct{ rule, decision string }

// faresAs reports whether the sockets fare in the test as they do where they are.
func (c *testCase) faresAs(all []ruletest.Saying) bool {
	was, is := map[fate]int{}, map[fate]int{}
	for i := range c.members {
		was[fateOf(c.members[i].Rule, c.members[i].Decision)]++
	}
	for i := range all {
		is[fateOf(all[i].Rule, all[i].Decision)] += all[i].Count
	}
	return maps.Equal(was, is)
}

func fateOf(rule, decision string) fate {
	if decision == rules.ExpectNone {
		return fate{decision: decision}
	}
	return fate{rule, decision}
}

// fates says how the sockets of a case fare where they are.
func (d *testDraft) fates(c *testCase) string {
	counts, reasons := map[fate]int{}, map[fate]string{}
	for i := range c.members {
		m := &c.members[i]
		of := fateOf(m.Rule, m.Decision)
		counts[of]++
		reasons[of] = cmp.Or(reasons[of], m.Reason)
	}
	var parts []string
	for _, of := range slices.SortedFunc(maps.Keys(counts), func(x, y fate) int {
		return cmp.Or(cmp.Compare(x.decision, y.decision), cmp.Compare(x.rule, y.rule))
	}) {
		text := of.decision
		if of.rule != "" {
			text += " by " + of.rule
		}
		if counts[of] < len(c.members) {
			text = fmt.Sprintf("%d %s", counts[of], text)
		}
		// A reason can name addresses and processes.
		if reasons[of] != "" && d.Anonymiser == nil {
			text += " (" + printable(reasons[of]) + ")"
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// comment says what the test was made of, and how to go on.
func (d *testDraft) comment(said []ruletest.Saying) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Made on %s", d.Made.Format("2006-01-02 15:04"))
	if d.Command != nil {
		fmt.Fprintf(&b, " by\n#   %s", commandLine(d.Command))
	}
	b.WriteString("\n")
	all := make([]*engine.Candidate, len(d.Sockets))
	for i := range d.Sockets {
		all[i] = d.Sockets[i].Candidate
	}
	wrapped(&b, "of "+counts(all, d.processName)+".")
	if d.Anonymiser != nil {
		wrapped(&b, "Addresses and names are replaced.")
	}
	for _, note := range d.notes {
		wrapped(&b, note)
	}
	if !slices.ContainsFunc(said, func(s ruletest.Saying) bool { return s.Decision != rules.ExpectNone }) {
		wrapped(&b, "No rule takes any of them. If one should, write here what it should decide, and then the rule.")
	}
	if d.Program.Reads.Has(collectors.FieldCmdline) {
		wrapped(&b, "Rules read cmdline, which is left out: arguments can be secrets.")
	}
	file := d.Name + "_test.yaml"
	fmt.Fprintf(&b, "#\n#   sockwarden rules test %s    # the rules are named as seen from its directory\n", file)
	return b.String()
}

// processName is the name of a process that the test shows.
func (d *testDraft) processName(o *collectors.Owner) string {
	if d.Anonymiser != nil {
		return o.Comm
	}
	return o.Name
}
