package draft

import (
	"fmt"
	"math"
	"time"

	"sockwarden/collectors"
	"sockwarden/engine"
	"sockwarden/rules/lang"
)

// usual is the threshold where the sockets do not suggest one; shortest is the least that
// they may suggest, as no handshake or shutdown takes longer. Both in seconds, as are
// steps, the thresholds to choose from.
const (
	usual    = 60
	shortest = 30
)

var steps = []float64{3600, 1800, 900, 600, 300, 120, 60, shortest}

// shortLived are states that the kernel ends after a minute.
var shortLived = collectors.Mask(collectors.TimeWait)

// addTimes adds how long a socket must have been in its state, and still, if the
// selection does not: a young one is not hung.
func (d *draft) addTimes() {
	still := d.given.Meets(lang.IdleFields().Or(collectors.StallFields()))
	aged := d.given.Meets(collectors.AgeFields())
	switch quiet := d.states & (closing | collectors.Mask(collectors.Established)); {
	case d.states == collectors.Mask(collectors.Listen), d.udp:
		return
	case quiet == 0:
		if !aged {
			d.older("age", d.youngest(ageOf))
		}
		return
	case !aged && !d.states.Has(collectors.Established):
		d.older("age", d.youngest(ageOf))
	}
	if !still {
		d.older("idle", d.youngest(idleOf))
	}
}

// ageOf returns the proven age of a socket, NaN if there is none.
func ageOf(c *engine.Candidate) float64 {
	if c.Facts.Age.Source == collectors.AgeNone {
		return math.NaN()
	}
	return c.Facts.Age.Min
}

// idleOf returns how long a socket has carried no data, NaN if that is unknown.
func idleOf(c *engine.Candidate) float64 {
	r := c.Record()
	if !r.Known.Has(collectors.FieldIdle) {
		return math.NaN()
	}
	return collectors.FieldIdle.Doc().Num(&r)
}

// youngest returns the least time of the sockets, NaN if it is unknown of any.
func (d *draft) youngest(of func(*engine.Candidate) float64) float64 {
	least := math.Inf(1)
	for _, c := range d.Sockets {
		if !d.leftOut(c) {
			least = math.Min(least, of(c)) // NaN wins
		}
	}
	return least
}

// older adds a threshold that all the sockets have passed, if one suits them.
func (d *draft) older(field string, least float64) {
	threshold := float64(usual)
	if d.states&^shortLived == 0 {
		threshold = shortest
	}
	found := false
	for _, s := range steps {
		if s < least && (d.states&^shortLived != 0 || s <= threshold) {
			threshold, found = s, true
			break
		}
	}
	text := spell(threshold)
	switch {
	case found:
	case math.IsNaN(least):
		d.notes = append(d.notes, fmt.Sprintf("%s > %s is a guess: it is not known of all of them.", field, text))
	default:
		d.notes = append(d.notes, fmt.Sprintf("%s > %s is a guess: the least now is %s.", field, text, time.Duration(least*float64(time.Second)).Round(time.Second)))
	}
	if field == "idle" && d.orphans() {
		d.parts = append(d.parts, fmt.Sprintf(`(idle > "%s" or (state == "FIN_WAIT2" and not owned))`, text))
		return
	}
	d.parts = append(d.parts, fmt.Sprintf(`%s > "%s"`, field, text))
}

// orphans reports whether the kernel finishes some of them alone and does not say when
// data moved.
func (d *draft) orphans() bool {
	for _, c := range d.Sockets {
		if r := c.Record(); c.Socket.State == collectors.FinWait2 && !r.Known.Has(collectors.FieldIdle) && len(c.Facts.Owners) == 0 {
			return true
		}
	}
	return false
}

// spell writes whole seconds as a duration of rules files.
func spell(seconds float64) string {
	switch n := int(seconds); {
	case n%3600 == 0:
		return fmt.Sprintf("%dh", n/3600)
	case n%60 == 0:
		return fmt.Sprintf("%dm", n/60)
	default:
		return fmt.Sprintf("%ds", n)
	}
}
