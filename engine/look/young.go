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
	limits := rule.When.AgesOver()
	if len(limits) == 0 || rule.Grouped() || cand.Socket.Timer == collectors.TimerTimeWait {
		return
	}
	old := cand.Clone()
	old.Facts.Age.Min, old.Facts.Age.Max, old.Facts.Age.Bounded = math.MaxFloat64, 0, false
	old.Facts.Known.Add(collectors.Fields(collectors.FieldAge))
	if c.evalByAge(old, rule.When.EvalOnceIdle) == rules.False {
		return
	}
	left := 0.0
	for _, limit := range limits {
		left = max(left, limit-still(cand, rule))
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
