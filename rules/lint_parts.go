package rules

import (
	"slices"
	"time"

	"go.yaml.in/yaml/v4"

	"sockwarden/collectors"
)

// timeWaitLength is how long Linux keeps TIME_WAIT (TCP_TIMEWAIT_LEN), seconds.
const timeWaitLength = 60

// finTimeout is how long Linux by default keeps a FIN_WAIT2 that no process has
// (net.ipv4.tcp_fin_timeout), seconds.
const finTimeout = 60

// lintDead warns about parts of a condition that decide nothing; what says whose it is.
func lintDead(what string, at *yaml.Node, cond *Cond, warn warner) {
	for _, part := range cond.Dead() {
		switch why := part.Why; {
		case part.True:
			warn(idAlwaysTrue, at, part.From, "%s: %s is true of every socket: leave it out, or write what you meant", what, part.Text)
		default:
			if why != "" {
				why = " (" + why + ")"
			}
			warn(idNeverTrue, at, part.From, "%s: %s is true of no socket%s", what, part.Text, why)
		}
	}
}

// lintSpares is lintDead for what spares sockets. A set that is empty now can be filled.
func (b *builder) lintSpares(what string, at *yaml.Node, cond *Cond) {
	if !b.names.files.asksEmpty(cond) {
		lintDead(what, at, cond, b.warnf)
	}
}

// lintAges warns about ages that no socket can reach.
func lintAges(r *rawRule, rule *Rule, warn warner) {
	if asShipped(rule.When) {
		return
	}
	states := rule.When.MayHold().States
	timeWait := states == collectors.Mask(collectors.TimeWait)
	orphans := states == collectors.Mask(collectors.FinWait2) &&
		!slices.ContainsFunc(possible(rule), func(s *collectors.Socket) bool { return s.Inode != 0 })
	if timeWait && r.hold >= timeWaitLength*time.Second {
		warn(idAgeUnreachable, r.when, 0, "rule %q never matches: Linux ends TIME_WAIT after %d seconds, and its \"for\" lasts for %s: write less",
			rule.Name, timeWaitLength, r.hold)
	}
	for _, a := range rule.When.Ages {
		switch {
		case timeWait && a.Seconds >= timeWaitLength:
			warn(idAgeUnreachable, r.when, a.From, "rule %q never matches: Linux ends TIME_WAIT after %d seconds, and it waits for more than %v: write less",
				rule.Name, timeWaitLength, a.Seconds)
		case orphans && a.Seconds >= finTimeout:
			warn(idAgeUnreachable, r.when, a.From, "rule %q hardly ever matches: Linux ends a FIN_WAIT2 without a process after %d seconds (net.ipv4.tcp_fin_timeout), "+
				"and it waits for more than %v: write less", rule.Name, finTimeout, a.Seconds)
		}
	}
}

// lintProbed warns about a silence that cannot occur: a peer whose window has no room
// answers every probe.
func lintProbed(r *rawRule, rule *Rule, warn warner) {
	if !rule.When.Reads.Has(collectors.FieldAckIdle) || rule.When.Reads.Meets(collectors.Fields(collectors.FieldIdleSend, collectors.FieldSendStalled)) {
		return
	}
	with := func(timer collectors.Timer) Tri {
		s := collectors.Socket{
			Protocol: collectors.TCP, State: collectors.Established, Timer: timer, Inode: 1,
			Known: collectors.Fields(collectors.FieldProtocol, collectors.FieldState, collectors.FieldTimer, collectors.FieldOwned),
		}
		record := collectors.NewRecord(&s, nil, nil, nil, "")
		return rule.When.Eval(&record)
	}
	if with(collectors.TimerProbe) == False || with(collectors.TimerRetransmit) != False || with(collectors.TimerNone) != False {
		return
	}
	warn(idAckIdleRenewed, r.when, 0, "rule %q reads ack_idle of peers whose window is full: their answers to the kernel's probes renew it; use send_stalled",
		rule.Name)
}
