package explain

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine/look"
	"sockwarden/engine/report"
	"sockwarden/rules"
	"sockwarden/rules/lang"
)

// cure says what would make the part at the end of the path in a rule's condition true,
// or known; "" if its values say it all. again says that the judge looks again by itself.
func cure(cand *look.Candidate, rule *rules.Rule, owner int, path []int, again bool) string {
	record := cand.RecordOf(owner)
	when := rule.When.Explain(&record)
	p := at(&when, path)
	switch {
	case p.Value == rules.False && readsAge(p):
		return ripens(cand, rule, owner, path)
	case p.Value == rules.False:
		return ""
	case readsAge(p) && !exact(cand.Facts.Age):
		return proof(cand, rule, owner, path, again)
	case reads(p, ownerFields) && cand.OwnerHidden():
		return "owner not visible: " + cmp.Or(cand.Hidden, look.NobodyHas)
	}
	for _, name := range p.Names {
		if why := p.Unknown[name]; why != "" {
			return fmt.Sprintf("%s is not known: %s", name, why)
		}
	}
	return ""
}

// ownerFields are known only if the process is known that holds the socket.
var ownerFields = collectors.OwnerFields()

func exact(a collectors.Age) bool { return a.Bounded && a.Max-a.Min <= 1 }

// threshold is the age, in seconds, above which the part becomes true; false if none of
// the condition's ages does it.
func threshold(cand *look.Candidate, rule *rules.Rule, owner int, path []int) (seconds float64, ok bool) {
	ages := rule.When.AgesOver()
	slices.Sort(ages)
	for _, n := range ages {
		const over = 0.001
		old := cand.Clone()
		old.SetAge(collectors.Age{Min: n + over, Max: n + over, Bounded: true, Source: collectors.AgeObserved})
		record := old.RecordOf(owner)
		when := rule.When.Explain(&record)
		if at(&when, path).Value == rules.True {
			return n, true
		}
	}
	return 0, false
}

// ripens says when a socket will be old enough.
func ripens(cand *look.Candidate, rule *rules.Rule, owner int, path []int) string {
	n, ok := threshold(cand, rule, owner, path)
	a := cand.Facts.Age
	if !ok {
		return ""
	}
	if cand.Socket.State == collectors.TimeWait && n >= timeWait {
		return "never: the kernel ends TIME_WAIT after 60s"
	}
	if exact(a) {
		return fmt.Sprintf("true in %s, if it stays as it is", Span(n-a.Min))
	}
	return fmt.Sprintf("true in %s at the earliest, if it stays as it is", Span(n-a.Max))
}

// timeWait is how long the kernel keeps TIME_WAIT, in seconds (TCP_TIMEWAIT_LEN).
const timeWait = 60

// proof says why an age is not known well enough, and what would prove it.
func proof(cand *look.Candidate, rule *rules.Rule, owner int, path []int, again bool) string {
	n, ok := threshold(cand, rule, owner, path)
	switch {
	case cand.Socket.Cookie == 0:
		return "it has no cookie to tell it from another socket: its age is never known"
	case ok && cand.Socket.State == collectors.TimeWait && n >= timeWait:
		return "never: the kernel ends TIME_WAIT after 60s"
	case !ok:
		return unproven(cand)
	case again:
		return unproven(cand) + "; the looks of the watcher prove it in time"
	}
	const longest = 600 // seconds that a person will wait
	how := "watch, or runs with the same state file, prove it"
	if wait := math.Ceil(n) + 1; wait <= longest {
		how = fmt.Sprintf("two looks prove it: --observe %s, watch, or runs with the same state file", Span(wait))
	}
	return unproven(cand) + "; " + how
}

// unproven says why a single look does not prove more, in the words of docs/ages.md.
func unproven(cand *look.Candidate) string {
	s := &cand.Socket
	switch {
	case cand.Blind:
		return "its tcp_info cannot be read: a process keeps its lock"
	case s.Protocol != collectors.TCP, s.State == collectors.Listen, s.State == collectors.SynRecv, s.State == collectors.Close:
		return "one look proves no age of " + s.Protocol.String() + " " + s.State.String()
	case s.State == collectors.Established:
		return "its stamps prove no more: something moved since"
	case s.State == collectors.CloseWait, s.State == collectors.Closing:
		return "answers to keepalives renew the stamp of the last ACK"
	case s.State == collectors.FinWait2 && s.Inode == 0:
		return "the kernel keeps no times of a FIN_WAIT2 that nobody holds"
	case s.State == collectors.FinWait2:
		return "the stamp of the last ACK proves no more"
	case s.State == collectors.TimeWait:
		return "a repeated FIN starts its timer again"
	}
	return "only retransmissions prove an age of " + s.State.String()
}

// Span writes seconds as a duration: 41s, 4m31s, 2h, rounded up to a second.
func Span(seconds float64) string {
	return report.Short(time.Duration(math.Ceil(max(0, seconds))) * time.Second)
}

// AgeText says between which bounds an age lies.
func AgeText(a collectors.Age) string {
	floor := func(s float64) string { return report.Short(time.Duration(s) * time.Second) }
	switch {
	case exact(a):
		return floor(a.Min)
	case a.Bounded:
		return fmt.Sprintf("between %s and %s", floor(a.Min), Span(a.Max))
	case a.Source == collectors.AgeNone || a.Source == "":
		return "not known"
	}
	return "at least " + floor(a.Min)
}

// PartText writes a part on one line.
func PartText(p *lang.Part) string { return oneLine(p.Text) }
