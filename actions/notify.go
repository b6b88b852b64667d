package actions

import (
	"context"
	"time"
)

// Message is what a rule found in one cycle, for people elsewhere.
type Message struct {
	Time       time.Time         `json:"time"`
	Host       string            `json:"host"`
	Mode       string            `json:"mode"` // dry-run, live or test
	Rule       string            `json:"rule"`
	Labels     map[string]string `json:"labels"`
	Generation string            `json:"generation"`
	// Event says what has happened: one of the events below.
	Event  Event   `json:"event"`
	Total  int     `json:"total"`
	Counts []Count `json:"counts"`
	// Lines describe the first few findings.
	Lines []string `json:"findings"`
	// Lasted is how many seconds stood what is over.
	Lasted float64 `json:"lasted_seconds,omitempty"`
}

// Event is what a message is about.
type Event string

// The events.
const (
	EventFound   Event = "found"   // findings are new, or something else becomes of them
	EventMissing Event = "missing" // no socket matches, and the rule finds that
	EventOver    Event = "over"    // nothing that the rule found is left
	EventTest    Event = "test"    // somebody tries the notifier
)

// Count is how many findings came to the same.
type Count struct {
	What  string `json:"what"` // a result, or a decision
	Count int    `json:"count"`
}

// Notifier delivers messages. Send may take long and is called from one
// goroutine of its own; it tries again by itself, and its error is final and
// holds no secrets.
type Notifier interface {
	Send(ctx context.Context, m Message) error
}

// NotifierPlugin is a way to deliver messages that rules files can configure
// under actions.
type NotifierPlugin struct {
	Name    string
	Summary string
	Doc     string
	Needs   string
	Params  []Param
	// New checks the parameters and does no I/O.
	New func(params map[string]any) (Notifier, error)
}
