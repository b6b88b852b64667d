package actions

import (
	"fmt"
	"math"
	"time"
)

// Delivery is how a receiver wants its messages, whichever plugin sends them.
type Delivery struct {
	Rate     int           // how many messages a minute at most, 0 for no limit of its own
	Repeat   time.Duration // after how long what still stands is reported again, 0 for never
	Resolved bool          // whether it is also told what is over
}

// maxRate is how many messages a minute somebody may ask for: there is a pause of a second
// between two.
const maxRate = 60

// minRepeat and maxRepeat bound the time after which what stands is reported again: the
// state file forgets after a week what nobody was told.
const (
	minRepeat = time.Minute
	maxRepeat = 6 * 24 * time.Hour
)

// DeliveryParams are the parameters that every notifier has.
func DeliveryParams() []Param {
	return []Param{
		{Name: "rate", Type: "number", Doc: "messages a minute at most, 1 to 60; what is more is summed up in one"},
		{Name: "repeat", Type: "duration", Doc: "report again what still stands after this time, 1m to 144h (default: never)"},
		{Name: "resolved", Type: "bool", Doc: "also say when it is over (default true)"},
	}
}

// DeliveryOf reads these parameters.
func DeliveryOf(params map[string]any) (Delivery, error) {
	d := Delivery{Resolved: true}
	if rate, ok := params["rate"].(float64); ok {
		if rate < 1 || rate > maxRate || rate != math.Trunc(rate) {
			return d, fmt.Errorf("rate is a whole number of messages a minute, 1 to %d, not %v", maxRate, rate) //nolint:err113 // for people
		}
		d.Rate = int(rate)
	}
	if repeat, ok := params["repeat"].(time.Duration); ok {
		if d.Repeat = repeat; repeat < minRepeat || repeat > maxRepeat {
			return d, fmt.Errorf("repeat is between 1m and 144h, not %s", repeat) //nolint:err113 // for people
		}
	}
	if resolved, ok := params["resolved"].(bool); ok {
		d.Resolved = resolved
	}
	return d, nil
}
