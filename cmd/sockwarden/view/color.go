package view

import "sockwarden/collectors"

// The colours of a terminal (ECMA-48, select graphic rendition), by meaning.
const (
	bad     = "31" // red
	good    = "32" // green
	pending = "33" // yellow
	calm    = "36" // cyan
	faint   = "2"
)

// colorOf is the colour of a cell, by heading and text.
var colorOf = map[string]map[string]string{
	"LEVEL":    {"ok": good, "warn": pending, "fail": bad},
	"STATE":    stateColors(),
	"DECISION": decisionColors(),
	"RESULT":   decisionColors(),
}

func stateColors() map[string]string {
	return map[string]string{
		collectors.Established.String(): good, collectors.Listen.String(): calm, collectors.TimeWait.String(): faint,
		collectors.CloseWait.String(): pending, collectors.FinWait1.String(): pending, collectors.FinWait2.String(): pending,
		collectors.Closing.String(): pending, collectors.LastAck.String(): pending, collectors.SynSent.String(): calm, collectors.SynRecv.String(): calm,
	}
}

// decisionColors are the colours of the first column of findings. Whatever it does not
// name is a failure, or new.
func decisionColors() map[string]string {
	return map[string]string{
		"would act": pending, "observe": calm, "soak": calm, "canary": calm, "limited": faint, "paused": faint, "breaker": bad,
		"gone": good, "ended": good, "repaired": good, "done": good, "changed": faint, "unchanged": faint,
		"fd_still_held": pending, "still_running": pending,
		"failed": bad, "refused": bad, "not_permitted": bad, "unsupported": bad, "timeout": bad, "reborn": bad,
	}
}

// painted colours a cell of a column.
func painted(head, text string) string {
	color, ok := colorOf[head][text]
	if !ok {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}
