package actions

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"sockwarden/collectors"
	"sockwarden/collectors/stuck"
)

// Result is the outcome of an action, as JSON and conditions name it.
type Result string

// The results. The list is open: later versions can add more.
const (
	Would        Result = "would"         // dry run: it would have been done
	Gone         Result = "gone"          // the socket is gone from the kernel
	FDStillHeld  Result = "fd_still_held" // gone from the kernel, but the process keeps the descriptor
	Ended        Result = "ended"         // the process has ended
	StillRunning Result = "still_running" // the process has not ended
	Done         Result = "done"          // done, there is nothing to verify
	Repaired     Result = "repaired"      // options were set on the socket
	Unchanged    Result = "unchanged"     // everything was set already
	Changed      Result = "changed"       // the target no longer was what was decided on; nothing was done
	Refused      Result = "refused"       // the kernel took the request, but the target is still there
	Unsupported  Result = "unsupported"   // this kernel, or whoever would have to, cannot do it
	NotPermitted Result = "not_permitted" // this process may not do it
	Timeout      Result = "timeout"       // it did not end in time
	Failed       Result = "failed"        // anything else
)

// Succeeded reports whether the action achieved its purpose.
func (r Result) Succeeded() bool {
	return slices.Contains([]Result{Gone, FDStillHeld, Ended, Done, Repaired, Unchanged}, r)
}

// Climbs reports whether a ladder may consider its next rung: the target is still there,
// and the host can act.
func (r Result) Climbs() bool { return r == Refused || r == Failed || r == StillRunning }

// EndsAll reports whether the host refuses actions of this kind altogether, so
// that no ladder may go on. Outcome knows of exceptions.
func (r Result) EndsAll() bool { return r == Unsupported || r == NotPermitted }

// EndsAll is that of the result, unless it is about the target alone.
func (o *Outcome) EndsAll() bool { return o.Result.EndsAll() && !o.OfTarget }

// Outcome is a result with its reason.
type Outcome struct {
	Result Result
	Detail string // for people, "" for none
	Err    error  // what failed, nil if nothing did
	// OfTarget says that what is not supported or permitted is so for this target alone,
	// and can be done to others.
	OfTarget bool
	// Pending says that it is under way and to be asked again, however long the
	// rung waits: the effect itself ends it in time, or when it is told to stop.
	Pending bool
}

// Keeping is an Effect that knows which owners kept the descriptor of the socket when it
// was last verified: the owners that a result of fd_still_held is about.
type Keeping interface{ Keepers() []collectors.Owner }

// StillHeld is the outcome of a socket that is gone from the kernel: fd_still_held, with
// more appended to its detail, if anybody keeps its descriptor.
func StillHeld(keepers []collectors.Owner, more string) Outcome {
	switch len(keepers) {
	case 0:
		return Outcome{Result: Gone}
	case 1:
		return Outcome{Result: FDStillHeld, Detail: keepers[0].String() + " still has the descriptor" + more}
	}
	return Outcome{Result: FDStillHeld, Detail: collectors.OwnerNames(keepers) + " still have the descriptor" + more}
}

// ChangedError says how a target that still exists differs from what was decided on. It
// counts as collectors.ErrGone.
type ChangedError struct{ Why string }

// Changedf returns a ChangedError.
func Changedf(format string, args ...any) error { return &ChangedError{fmt.Sprintf(format, args...)} }

func (c *ChangedError) Error() string { return c.Why }

// Is makes it a kind of collectors.ErrGone.
func (c *ChangedError) Is(target error) bool { return target == collectors.ErrGone }

// TargetError says that what is not supported or permitted is so for one target alone.
type TargetError struct{ Err error }

func (t *TargetError) Error() string { return t.Err.Error() }

// Unwrap returns what was wrong.
func (t *TargetError) Unwrap() error { return t.Err }

// OutcomeOf turns the error of an attempt into an outcome; ErrGone is Changed, and
// what does not return from the kernel is Timeout.
func OutcomeOf(err error) Outcome {
	if changed, ok := errors.AsType[*ChangedError](err); ok {
		return Outcome{Result: Changed, Detail: changed.Why}
	}
	_, alone := errors.AsType[*TargetError](err)
	switch {
	case stuck.In(err) != nil:
		return Outcome{Result: Timeout, Err: err}
	case errors.Is(err, collectors.ErrGone):
		return Outcome{Result: Changed, Detail: "closed before we acted"}
	case errors.Is(err, collectors.ErrNotPermitted):
		return Outcome{Result: NotPermitted, Err: err, OfTarget: alone}
	case errors.Is(err, collectors.ErrNotSupported):
		return Outcome{Result: Unsupported, Err: err, OfTarget: alone}
	}
	return Outcome{Result: Failed, Err: err}
}

// Sealed is one socket as it was when it was decided on.
type Sealed struct {
	Socket    collectors.Socket
	Namespace collectors.Namespace
	Facts     collectors.Facts
	// Open opens the socket's namespace; nil means our own.
	Open func() (*os.File, error)
	// Listeners are those one of which the socket waits for, if it waits to be accepted.
	Listeners []Listener
}

// Listener is a socket that listens, with the processes that have it.
type Listener struct {
	Socket collectors.Socket
	Owners []collectors.Owner
}

// Inodes are those of the socket by which its process is told: its own, or those of the
// listeners that it waits for.
func (s *Sealed) Inodes() (all []uint32) {
	if s.Socket.Inode != 0 {
		return []uint32{s.Socket.Inode}
	}
	for i := range s.Listeners {
		if inode := s.Listeners[i].Socket.Inode; inode != 0 {
			all = append(all, inode)
		}
	}
	return all
}

// Target is what an action acts on: one or more sockets and, for actions on processes,
// the process that holds them all.
type Target struct {
	Rule    string
	Labels  map[string]string
	Sockets []Sealed
	Process *collectors.Owner // nil for none
	Host    string
}

// Action does one thing to targets. It is configured once and used for many targets, from
// one goroutine.
type Action interface {
	// Prepare looks the target up again and returns the effect on it. An error that is
	// ErrGone says that the target is no longer what was decided on. Prepare changes
	// nothing on the host.
	Prepare(ctx context.Context, t Target) (Effect, error)
}

// Batcher is an Action on single sockets that is cheaper for many at a time. Each target
// still has its own effect and outcomes. Its methods may run at the same time for
// different targets, VerifyAll only if it gets holds.
type Batcher interface {
	// PrepareAll is Prepare for each target.
	PrepareAll(ctx context.Context, targets []Target) []Prepared
	// ApplyAll is Apply for effects that PrepareAll returned.
	ApplyAll(ctx context.Context, effects []Effect) []Outcome
	// VerifyAll is Verify for such effects. holds says who still holds a socket; if it is
	// nil, the action looks for itself.
	VerifyAll(ctx context.Context, effects []Effect, holds Holds) []Outcome
}

// Sessions is a Batcher that can keep what it opens for many calls in a row.
type Sessions interface {
	Batcher
	// Session returns a Batcher for one goroutine, valid until closes is called. Its
	// effects stay valid after that.
	Session() (b Batcher, closes func())
}

// ErrNotBegun says that a Batcher did nothing to a target, because an earlier one took
// too long: look at it again.
var ErrNotBegun = errors.New("not begun, because an earlier one took too long")

// Prepared is an effect with the current record of the socket, or an error.
type Prepared struct {
	Effect Effect
	Now    *collectors.Socket
	Err    error
	// Alone says that the target cannot be part of a batch: prepare and apply it by
	// itself.
	Alone bool
}

// Holds reports whether a process holds the socket with that inode, as far as we can see.
type Holds func(o *collectors.Owner, inode uint32) bool

// Preflighter is an Action that can find out beforehand whether it would work here.
type Preflighter interface {
	// Preflight returns why the action cannot work for any target on this host, nil if it
	// knows no reason. It changes nothing. After an error that is
	// collectors.ErrNotPermitted or collectors.ErrNotSupported no live run begins; doctor
	// and rules check report every error.
	Preflight(ctx context.Context) error
}

// Effect is one thing to do to one target.
type Effect interface {
	// String says what Apply does, in the imperative: "destroy".
	String() string
	// Apply does it and returns at once. Its result is final unless it succeeded: then
	// Verify has the last word.
	Apply(ctx context.Context) Outcome
	// Verify looks at the target and says how far the effect got. It changes nothing and
	// may be called repeatedly.
	Verify(ctx context.Context) Outcome
}

// Stopper is an Effect that goes on by itself after Apply, such as a running program.
type Stopper interface {
	// Stop ends the effect, waits a moment for that and says what became of it; from then
	// on Verify says the same. If the effect has ended already, Stop changes nothing.
	Stop(ctx context.Context) Outcome
}

// Stop ends an effect that is still running, if it can, and says how far it got.
func Stop(ctx context.Context, e Effect) Outcome {
	if s, ok := e.(Stopper); ok {
		return s.Stop(ctx)
	}
	return e.Verify(ctx)
}

// Param is a parameter of an action, in rules files.
type Param struct {
	Name string
	Type string // string, bool, number (float64) or duration (time.Duration)
	Doc  string
	// SecretFile says that the parameter names a file that contains a secret.
	SecretFile bool
	// Program says that the parameter names a program of the host to run.
	Program bool
	// Allows is what a rung opts in to with it: by true, or by the text of AllowsBy.
	Allows   Permissions
	AllowsBy string
}

// Plugin is an action that rules can name.
type Plugin struct {
	Name    string
	Summary string // one line
	Doc     string // what it does to the connection and the program, and what it does not
	// Needs are the privileges, kernel features and whatever else of the host it cannot
	// do without. NeedsWith returns them for given parameters; nil if they do not depend
	// on these.
	Needs     []Need
	NeedsWith func(params map[string]any) []Need
	Params    []Param
	// Main is the parameter that can stand right after the name, "" for none.
	Main string
	// Scope is what one effect acts on.
	Scope
	// WithoutSocket says that it also works for a finding without a socket: the group of
	// a host in which nothing matches.
	WithoutSocket bool
	// Program says that it runs a program for each target, so only a few may run at a
	// time.
	Program bool
	// NeedsCooldown makes a rule that uses it without a cool-down invalid.
	NeedsCooldown bool
	// Harmless actions change nothing about sockets and processes: guards, cool-downs and
	// the breaker do not apply to them.
	Harmless bool
	// Results are those that it can end with, besides changed, not_permitted and
	// unsupported, which every action has.
	Results []Result
	// MPTCP says that an action on single connections also works on those of MPTCP, whole
	// ones; no action works on their subflows.
	MPTCP bool
	// Gentle actions change something, but a live connection loses nothing.
	Gentle bool
	// Warn says what valid parameters may do that the author does not intend, for sockets
	// that the query asks for and that have been silent for at least that long; "" for
	// nothing. It is nil if there is never a warning.
	Warn func(params map[string]any, of *collectors.Query, silent time.Duration) string
	// New returns the action for the given parameters, which all are declared in Params
	// and have the right types, or says what is wrong with them. It does no I/O.
	New func(params map[string]any) (Action, error)
}

// Registry holds the actions that the program was built with.
type Registry struct{ plugins []Plugin }

// NewRegistry refuses plugins without a name and two plugins of the same name.
func NewRegistry(plugins ...Plugin) (*Registry, error) {
	for i, p := range plugins {
		if p.Name == "" || p.New == nil {
			return nil, fmt.Errorf("action %d: no name or no New", i)
		}
		if slices.ContainsFunc(plugins[:i], func(q Plugin) bool { return q.Name == p.Name }) {
			return nil, fmt.Errorf("action %q: registered twice", p.Name)
		}
	}
	return &Registry{plugins: slices.Clone(plugins)}, nil
}

// All returns the plugins in the order of registration.
func (r *Registry) All() []Plugin { return slices.Clone(r.plugins) }

// Get returns the plugin of that name; the error lists the known names.
func (r *Registry) Get(name string) (Plugin, error) {
	var names []string
	for _, p := range r.plugins {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Plugin{}, fmt.Errorf("unknown action %q (known: %s)", name, strings.Join(names, ", "))
}
