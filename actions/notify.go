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
	// Lasted is how long the findings lasted that are now over, or have lasted that still
	// stand, in seconds.
	Lasted float64 `json:"lasted_seconds,omitempty"`
	// FullIn is when a process has used up its descriptors, in seconds; 0 if nothing says so.
	FullIn float64 `json:"full_in_seconds,omitempty"`
}

// Whole is the message with empty lists and maps for those that it does not have, as JSON
// shows it.
func (m Message) Whole() Message {
	if m.Labels == nil {
		m.Labels = map[string]string{}
	}
	if m.Counts == nil {
		m.Counts = []Count{}
	}
	if m.Lines == nil {
		m.Lines = []string{}
	}
	return m
}

// Event is what a message is about.
type Event string

// The events.
const (
	EventFound   Event = "found"   // findings are new, or their outcome has changed
	EventMissing Event = "missing" // no socket matches, which is what the rule finds
	EventStands  Event = "stands"  // what the rule found is still there: see Delivery.Repeat
	EventOver    Event = "over"    // nothing that the rule found remains
	EventSum     Event = "sum"     // messages that were too many to send: Total of them, Counts by rule and event
	EventTest    Event = "test"    // a user tries out the notifier
)

// Count is how many findings had the same outcome.
type Count struct {
	What  string `json:"what"` // a result, or a decision
	Count int    `json:"count"`
}

// Notifier delivers messages. Send may take long and runs on its own goroutine; its error
// contains no secrets. Whoever sends tries again later, unless it is a FinalError. When ctx
// ends, Send begins nothing new; an attempt that is under way goes on until Attempt(ctx)
// ends, because the other side may have taken the message already.
type Notifier interface {
	Send(ctx context.Context, m Message) error
}

type attemptKey struct{}

// WithAttempt returns a context for Send within which an attempt may go on until this one
// ends, however early Send has to stop otherwise.
func WithAttempt(attempt context.Context) context.Context {
	return context.WithValue(attempt, attemptKey{}, attempt)
}

// Attempt returns the context of a single attempt to deliver a message.
func Attempt(ctx context.Context) context.Context {
	if attempt, ok := ctx.Value(attemptKey{}).(context.Context); ok {
		return attempt
	}
	return ctx
}

// FinalError says that a message will never be delivered, however often it is sent.
type FinalError struct{ Err error }

// Error is the text of the cause.
func (e *FinalError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *FinalError) Unwrap() error { return e.Err }

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

// ParamError says which parameter of a notifier is wrong.
type ParamError struct {
	Param string
	Line  int // of its text, from 1; 0 if that says nothing
	Err   error
}

// Error is the text of the cause.
func (e *ParamError) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *ParamError) Unwrap() error { return e.Err }

// Place is where the error is, for whoever has the text of the rules.
func (e *ParamError) Place() (param string, line int) { return e.Param, e.Line }
