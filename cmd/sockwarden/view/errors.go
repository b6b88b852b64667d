package view

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"sockwarden/engine"
)

// ErrorText is an error for people: on one line, and each reason once. If several sources
// report the same refusal, only the first one's words remain.
func ErrorText(err error) string {
	if t, ok := errors.AsType[*engine.TrippedError](err); ok && t.Calm > 0 {
		return fmt.Sprintf("breaker: would act on %s: tripped before (%s), %s to go; acted on none. %s", t.What, t.Limit, Count(t.Calm, "calm cycle"), t.GoOn)
	}
	if spared, ok := errors.AsType[*engine.SparedError](err); ok {
		return fmt.Sprintf("%s spared: %s", Count(spared.Sockets, "matching socket"), spared.Why)
	}
	var lines []string
	for line := range strings.Lines(err.Error()) {
		line = refusedOnce(strings.TrimSpace(line))
		refused := strings.Contains(line, notPermitted) && strings.Contains(strings.Join(lines, ""), notPermitted)
		if line != "" && !refused && !slices.Contains(lines, line) {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "; ")
}

const notPermitted = "not permitted"

var (
	refusedTwice  = regexp.MustCompile(`not permitted(?:: ([^;]*?)| \([^()]*): operation not permitted(?: \([^()]*\)|\))?`)
	refusedByWord = regexp.MustCompile(`(not permitted)( \(operation not permitted\)|: operation not permitted)`)
)

// refusedOnce keeps a line from saying twice that something is not permitted, in our
// words and the kernel's.
func refusedOnce(line string) string {
	line = refusedByWord.ReplaceAllString(line, "$1")
	return refusedTwice.ReplaceAllStringFunc(line, func(text string) string {
		if what := refusedTwice.FindStringSubmatch(text)[1]; what != "" {
			return notPermitted + ": " + what
		}
		return notPermitted
	})
}
