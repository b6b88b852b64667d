package look

import (
	"math"
	"time"

	"sockwarden/collectors"
	"sockwarden/rules"
)

// Young counts the sockets that a rule will take as soon as they are old enough, if
// nothing else changes.
type Young struct {
	Rule    *rules.Rule
	Sockets int
	// Within is the time from the look until the last of them is old enough.
	Within time.Duration
}

// young counts a socket that only its age keeps from a rule. Costly facts, such as its
// owner, may still spare it later.
func (c *Picture) young(cand *Candidate, rule *rules.Rule) {
	if len(rule.When.Ages) == 0 || rule.Grouped() || cand.Socket.Timer == collectors.TimerTimeWait {
		return
	}
	is := cand.Facts
	cand.Facts.Age.Min, cand.Facts.Age.Max, cand.Facts.Age.Bounded = math.MaxFloat64, 0, false
	cand.Facts.Known.Add(collectors.Fields(collectors.FieldAge))
	old := c.evalByAge(cand, rule.When.EvalOnceIdle)
	if cand.Facts = is; old == rules.False {
		return
	}
	left := 0.0
	for i := range rule.When.Ages {
		left = max(left, rule.When.Ages[i].Seconds-still(cand, rule))
	}
	within := time.Duration(left * float64(time.Second))
	for i := range c.Young {
		if y := &c.Young[i]; y.Rule == rule {
			y.Sockets++
			y.Within = max(y.Within, within)
			return
		}
	}
	c.Young = append(c.Young, Young{Rule: rule, Sockets: 1, Within: within})
}
