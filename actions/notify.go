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
	Labels     map[string]string `json:"labels"` // of the rule
	Generation string            `json:"generation"`
	// Event says what happened: one of the events below.
	Event  Event   `json:"event"`
	Total  int     `json:"total"`
	Counts []Count `json:"counts"`
	// Lines describe the first few findings.
	Lines []string `json:"findings"`
	// ContainerLabels are those of the containers of the first few findings, by what these
	// are called, as docker:hbbs.
	ContainerLabels map[string]map[string]string `json:"container_labels,omitempty"`
	// Lasted is how long the findings lasted that are now over, in seconds.
	Lasted float64 `json:"lasted_seconds,omitempty"`
}

// Event is what a message is about.
type Event string

// The events.
const (
	EventFound   Event = "found"   // findings are new, or their outcome has changed
	EventMissing Event = "missing" // no socket matches, which is what the rule finds
	EventOver    Event = "over"    // nothing that the rule found remains
	EventTest    Event = "test"    // a user tries out the notifier
)

// Count is how many findings had the same outcome.
type Count struct {
	What  string `json:"what"` // a result, or a decision
	Count int    `json:"count"`
}

// Notifier delivers messages. Send may take long, runs on its own goroutine, and retries
// by itself; its error is final and contains no secrets.
type Notifier interface {
	Send(ctx context.Context, m Message) error
}

// NotifierPlugin is a way to deliver messages that rules files can configure under
// actions.
type NotifierPlugin struct {
	Name    string
	Summary string
	Doc     string
	Needs   string
	Params  []Param
	// New checks the parameters and does no I/O.
	New func(params map[string]any) (Notifier, error)
}
