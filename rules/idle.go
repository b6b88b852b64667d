package rules

import "sockwarden/collectors"

// mayHoldOnceIdle reports whether a socket that the rule does not take while data moves
// must be remembered for its age. In ESTABLISHED the time without data is itself an age.
func (r *Rule) mayHoldOnceIdle(rec *collectors.Record) bool {
	return r.settles && rec.Socket.State != collectors.Established && r.When.EvalOnceIdle(rec) != False
}
