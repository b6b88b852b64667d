package look

import (
	"math"
	"time"

	"sockwarden/collectors"
	"sockwarden/rules"
)

// Young is the sockets that a rule takes as soon as they are old enough, if they stay
// as they are.
type Young struct {
	Rule    *rules.Rule
	Sockets int
	// Within is when the last of them is old enough, after the look.
	Within time.Duration
}

// young counts a socket that a rule does not take, if only its age spares it. What is
// costly to know, as its owner, may spare it later all the same.
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
