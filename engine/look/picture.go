package look

import (
	"errors"
	"slices"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine/world"
	"sockwarden/rules"
)

// Wanted is what a look is for.
type Wanted struct {
	// Program has the rules whose indexes candidates carry.
	Program *rules.Program
	// Plan says what to ask the kernel for: at least what all these programs read.
	Plan *rules.Program
	// Younger are further programs, of younger generations of rules.
	Younger []*rules.Program
	// Remembers, NeedsTwo and Weighs say for each rule whether to remember its sockets,
	// whether it needs two looks before it decides, and whether the breaker reads their ages.
	Remembers, NeedsTwo, Weighs []bool
	// Most bounds the candidates that only Younger programs may match, 0 for no bound. The
	// error is ErrTooMany.
	Most int
}

// ErrTooMany says that a look was given up as there was too much to see.
var ErrTooMany = errors.New("too many sockets")

// Picture is the result of a look: the sockets that rules may match, and the facts about
// them.
type Picture struct {
	Wanted
	Errors     []error
	Incomplete bool // not everything could be looked at
	Counts
	Moments
	// Next is when a socket becomes old enough for a rule, zero if none does.
	Next time.Time

	// Young are the sockets that are still too young for a rule, by rule.
	Young []Young

	Candidates []*Candidate
	Namespaces []*Namespace
	// Unreadable are the processes whose sockets nobody could read.
	Unreadable []world.Unreadable
	everywhere []*Namespace     // all of the host, if they were looked into for other ends
	seen       map[seenKey]bool // the candidates
	beside     int              // those that only younger programs may match
	Extra      ExtraLooks
}

// Counts are how many sockets a look was about.
type Counts struct {
	Scanned int // records that reached the rules
	Total   int // sockets there are, by /proc/net/sockstat
	ByState map[collectors.State]int
	// Unseen counts sockets of namespaces that were not looked at; they are not
	// counted by an unprivileged run.
	Unseen, UnseenNamespaces int
}

// Moments say when a look was.
type Moments struct {
	Began  time.Time // time of day at the beginning
	Looked float64   // CLOCK_MONOTONIC at the beginning of the dump, seconds
	Now    float64   // and at its end
	Ended  time.Time // time of day
}

// ExtraLooks are what looks for one picture found besides: each is made once.
type ExtraLooks struct {
	collateral  map[string]Harm
	inventories map[uint64]*inventory // by inode of the namespace
	Ports       map[*Namespace]map[uint16]portUse
}

// seenKey identifies a socket within a cycle: before Linux 5.10 each namespace counts its
// cookies from one.
type seenKey struct{ netns, cookie uint64 }

// fail notes an error that makes the picture incomplete.
func (c *Picture) fail(err error) {
	c.Incomplete = true
	c.Errors = append(c.Errors, err)
}

// warn notes, once, a problem that leaves the picture complete.
func (c *Picture) warn(err error) {
	if !slices.ContainsFunc(c.Errors, func(e error) bool { return e.Error() == err.Error() }) {
		c.Errors = append(c.Errors, err)
	}
}

// closing are the states in which only evidence can tell a dead connection from one that
// still transfers in the other direction.
var closing = collectors.Mask(collectors.CloseWait, collectors.LastAck, collectors.Closing, collectors.FinWait1)
