package judge

import (
	"strings"
	"time"

	"sockwarden/actions"
	"sockwarden/collectors"
	"sockwarden/engine/look"
	"sockwarden/engine/memory"
	"sockwarden/engine/report"
	"sockwarden/rules"
)

// gate is one reason to spare a socket that a rule matches.
type gate struct {
	name string // as Answer says it
	// spares decides the case and returns true, or lets it pass. If it returns true without a
	// decision, the rule does not apply to the socket at all.
	spares func(j *Judge, h *hearing, f *Case) bool
}

// gates are asked in this order; the first that spares decides. Those before "shadowed" leave
// the socket to later rules, those behind it keep it from them. What limits ask comes
// after them, when every generation of rules agrees, then the pause, and the breaker last.
var gates = []gate{
	{"unless", unless},
	{"having", having},
	{"keep", keeps},
	{"for", holds},
	{"mode", observes},
	{"shadowed", taken},
	{"protect", protects},
	{"guard", guarded},
	{"silence", silenced},
	{"if", firstIf},
	{"window", outside},
	{"soak", soaks},
	{"canary", outOfCanary},
	{"second_look", seenOnce},
}

// hearing is what the gates know about a socket apart from the case.
type hearing struct {
	*Cycle
	taker *rules.Rule // the rule that has the socket, nil for none yet
	quota *quota      // for limits
	// harm returns what else an action on a process would end; for limits.
	harm func(*collectors.Owner, *actions.Bound) look.Harm
	// asking leaves no trace in memory, so that no timer begins to count.
	asking bool
}

// sooner is that of the cycle, unless this only asks.
func (h *hearing) sooner(d time.Duration) {
	if !h.asking {
		h.Cycle.sooner(d)
	}
}

func unless(_ *Judge, _ *hearing, f *Case) bool {
	if f.Rule.Unless == nil || f.NoSocket() {
		return false
	}
	spared, v := f.Spares(f.Rule.Unless)
	if spared {
		f.set(report.DecideUnless, "unless of %s%s", f.Rule.Name, look.NotKnown(v))
	}
	return spared
}

// having spares, without a decision, sockets that belong to no group of the rule.
func having(_ *Judge, _ *hearing, f *Case) bool {
	if !f.Rule.Grouped() || f.group != nil || f.Rule.Having == nil {
		return false
	}
	f.set("", "having of %s is not true of its group", f.Rule.Name)
	return true
}

// holds spares sockets that have not matched for long enough without a break.
func holds(j *Judge, h *hearing, f *Case) bool {
	left := j.pending(h, f)
	if left <= 0 {
		return false
	}
	h.sooner(left)
	f.Held = f.Rule.For - left
	f.set(report.DecidePending, "%s for %s, so far %s", f.Rule.Name, report.Short(f.Rule.For), report.Short(f.Held))
	return true
}

// pending returns how long the rule must still match without a break.
func (j *Judge) pending(h *hearing, f *Case) time.Duration {
	if f.Rule.For <= 0 {
		return 0
	}
	var since float64
	key := memory.HoldKey{Rule: f.Rule.Name, Fingerprint: f.Rule.Fingerprint, Socket: collectors.KeyOf(&f.Socket)}
	switch {
	case f.group != nil:
		since = f.group.since
	case h.asking:
		since = j.memory.HeldSince(key, f.Rule.For, h.Now)
	default:
		since = j.memory.Hold(key, f.Rule.For, h.Now)
	}
	return max(0, f.Rule.For-time.Duration((h.Now-since)*float64(time.Second)))
}

func observes(_ *Judge, _ *hearing, f *Case) bool {
	switch f.Rule.Mode {
	case rules.ModeObserve:
		f.set(report.DecideObserve, "mode observe")
	case rules.ModeDisabled: // only who asks meets one
		f.set("", "mode disabled")
	case rules.ModeEnforce:
		return false
	}
	return true
}

// taken spares sockets that an earlier rule owns. Otherwise this rule owns the socket from
// now on, even if something then spares it.
func taken(_ *Judge, h *hearing, f *Case) bool {
	if f.NoSocket() {
		return false
	}
	if h.taker != nil {
		f.set(report.DecideShadowed, "rule %s comes first", h.taker.Name)
		return true
	}
	h.taker, f.owns = f.Rule, true
	return false
}

func protects(_ *Judge, h *hearing, f *Case) bool {
	if f.NoSocket() {
		return false
	}
	for _, p := range h.Program.Protect {
		if !p.InForce(h.Began) {
			continue
		}
		if spared, v := f.Spares(p.When); spared {
			f.set(report.DecideProtect, "protect %s%s", p.Name, look.NotKnown(v))
			return true
		}
	}
	return false
}

func guarded(j *Judge, _ *hearing, f *Case) bool {
	rung, plugin := effective(f.Rule)
	if rung == nil {
		return false
	}
	if f.NoSocket() {
		if plugin.WithoutSocket {
			return false
		}
		f.set(report.DecideGuarded, "there is no socket that %s could be for", rung.Action)
		return true
	}
	why := j.Guard(f.Candidate, rung)
	if why != "" {
		f.unseen = why == f.HiddenOwners()
		f.set(report.DecideGuarded, "%s", why)
	}
	return why != ""
}

// silenced spares what people want left alone for a time, and mutes even what changes
// nothing on the host.
func silenced(_ *Judge, h *hearing, f *Case) bool {
	why := h.Silences.Of(f.Candidate, f.Rule.Name)
	if why != "" {
		f.set(report.DecideSilenced, "%s", why)
	}
	return why != ""
}

// mute notes which findings a silence covers, whatever was decided about them.
func mute(c *Cycle) {
	if len(c.Silences) == 0 {
		return
	}
	for _, f := range c.Cases {
		f.Muted = c.Silences.Of(f.Candidate, f.Rule.Name) != ""
	}
}

func firstIf(_ *Judge, _ *hearing, f *Case) bool {
	if len(f.Rule.Then) == 0 || f.Rule.Then[0].If == nil { // who only observes needs no rung
		return false
	}
	cond := f.Rule.Then[0].If
	v := f.Eval(cond)
	if v != rules.True {
		f.set(report.DecideUnless, "if of %s%s", f.Rule.Name, look.NotKnown(v))
	}
	return v != rules.True
}

func outside(_ *Judge, h *hearing, f *Case) bool {
	if f.Rule.InWindow(h.Began) {
		return false
	}
	f.set(report.DecideWindow, "outside of the windows of %s: %s", f.Rule.Name, windowTexts(f.Rule.During))
	return true
}

// windowTexts names windows of time with their zones.
func windowTexts(windows []rules.Window) string {
	texts := make([]string, len(windows))
	for i, w := range windows {
		texts[i] = w.String()
	}
	return strings.Join(texts, ", ")
}

func soaks(j *Judge, h *hearing, f *Case) bool {
	left := j.soaking(f.Rule, h.Now)
	if left > 0 {
		f.set(report.DecideSoak, "soak of %s, %s left", f.Rule.Name, report.Short(left))
	}
	return left > 0
}

func outOfCanary(j *Judge, _ *hearing, f *Case) bool {
	if f.NoSocket() || j.inCanary(f.Finding) {
		return false
	}
	f.set(report.DecideCanary, "not in the canary part (%.3g%%) of %s", f.Rule.Canary*100, f.Rule.Name)
	return true
}

// seenOnce spares sockets that we have not seen for long enough to act on their process.
func seenOnce(j *Judge, h *hearing, f *Case) bool {
	if j.steady {
		return false
	}
	left := time.Duration(0)
	if needsTwo(f.Rule, false) {
		left = f.LeftAt(max(h.Looked, f.SeenAgain))
	}
	if left = max(left, j.unconfirmed(h, f)); left <= 0 {
		return false
	}
	h.sooner(left)
	rung, _ := effective(f.Rule)
	f.Held = f.Rule.For
	f.set(report.DecidePending, "seen for less than %s: %s needs a second look, by watch, --observe, or the next run with this state file",
		report.Short(look.SecondLook), rung.Action)
	return true
}

// unconfirmed is how much longer a rule must match what a listener has not accepted before
// its process is acted on. How long a socket listens says nothing of its queue, which a burst
// fills for a moment; nor does what waits say it, in a rule that reads no time.
func (j *Judge) unconfirmed(h *hearing, f *Case) time.Duration {
	momentary := f.Socket.State == collectors.Listen || collectors.Unaccepted(&f.Socket) && !f.Rule.ReadsTime()
	if f.NoSocket() || !momentary || !forListeners(f.Rule) {
		return 0
	}
	key := memory.HoldKey{Rule: f.Rule.Name, Fingerprint: f.Rule.Fingerprint, Socket: collectors.KeyOf(&f.Socket)}
	length, since := max(f.Rule.For, look.SecondLook), 0.0
	if h.asking {
		since = j.memory.HeldSince(key, length, h.Now)
	} else {
		since = j.memory.Hold(key, length, h.Now)
	}
	return max(0, look.SecondLook-time.Duration((h.Now-since)*float64(time.Second)))
}

// paused spares everything while a live engine is paused.
func paused(_ *Judge, h *hearing, f *Case) bool {
	if h.Paused == nil || Harmless(f.Rule) {
		return false
	}
	f.set(report.DecidePaused, "paused %s", h.Paused)
	return true
}
