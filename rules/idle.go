package rules

import "sockwarden/collectors"

// idleFields are the times since something moved.
var idleFields = collectors.Fields(collectors.FieldIdle, collectors.FieldIdleRecv, collectors.FieldIdleSend, collectors.FieldAckIdle)

// ReadsIdle reports whether the condition asks how long nothing has moved.
func (c *Cond) ReadsIdle() bool { return c.Reads.Meets(idleFields) }

// EvalOnceIdle is Eval for a later time at which nothing may have moved for as
// long as one likes: how long that has been is not known.
func (c *Cond) EvalOnceIdle(r *collectors.Record) Tri {
	known := r.Known
	r.Known.Remove(idleFields)
	value := c.eval(r)
	r.Known = known
	return value
}

// mayHoldOnceIdle reports whether a socket has to be remembered, for its age, that
// the rule does not take as long as data moves. In ESTABLISHED the time without
// data is itself an age.
func (r *Rule) mayHoldOnceIdle(rec *collectors.Record) bool {
	return r.settles && rec.Socket.State != collectors.Established && r.When.EvalOnceIdle(rec) != False
}
