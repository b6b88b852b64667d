package rules

import "sockwarden/collectors"

// mayHoldOnceIdle reports whether a socket has to be remembered, for its age, that
// the rule does not take as long as data moves. In ESTABLISHED the time without
// data is itself an age.
func (r *Rule) mayHoldOnceIdle(rec *collectors.Record) bool {
	return r.settles && rec.Socket.State != collectors.Established && r.When.EvalOnceIdle(rec) != False
}
