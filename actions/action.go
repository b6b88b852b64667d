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

// The results. They are open: later versions can add more.
const (
	Would        Result = "would"         // dry run: it would have been done
	Gone         Result = "gone"          // the socket is gone from the kernel
	FDStillHeld  Result = "fd_still_held" // gone from the kernel, but the process keeps the descriptor
	Ended        Result = "ended"         // the process has ended
	StillRunning Result = "still_running" // the process has not ended
	Done         Result = "done"          // done, there is nothing to verify
	Repaired     Result = "repaired"      // options were set on the socket
	Unchanged    Result = "unchanged"     // all was set already
	Changed      Result = "changed"       // the target was no longer what was decided on; nothing was done
	Refused      Result = "refused"       // the kernel took the request, the target is still there
	Unsupported  Result = "unsupported"   // this kernel cannot do it
	NotPermitted Result = "not_permitted" // this process may not do it
	Timeout      Result = "timeout"       // it did not end in its time
	Failed       Result = "failed"        // anything else
)

// Succeeded reports whether the result is what the action was for.
func (r Result) Succeeded() bool {
	return slices.Contains([]Result{Gone, FDStillHeld, Ended, Done, Repaired, Unchanged}, r)
}

// Climbs reports whether the next rung of a ladder may be looked at: the target
// is still there and the host is able.
func (r Result) Climbs() bool { return r == Refused || r == Failed || r == StillRunning }

// EndsAll reports whether the host refuses actions of this kind altogether, so
// that no ladder may go on.
func (r Result) EndsAll() bool { return r == Unsupported || r == NotPermitted }

// Outcome is a result with its reason.
type Outcome struct {
	Result Result
	Detail string // for people, "" for none
	Err    error  // what failed, nil if nothing did
	// Pending says that it is under way and to be asked again, however long the
	// rung waits: the effect itself ends it in time, or when it is told to stop.
	Pending bool
}

// Keeping is an Effect that knows who was found to keep the descriptor of the socket
// when it was verified last: what a result of fd_still_held is about.
type Keeping interface{ Keepers() []collectors.Owner }

// StillHeld is the outcome of a socket that is gone from the kernel: fd_still_held if
// there are some who keep its descriptor. More is said of it then.
func StillHeld(keepers []collectors.Owner, more string) Outcome {
	switch len(keepers) {
	case 0:
		return Outcome{Result: Gone}
	case 1:
		return Outcome{Result: FDStillHeld, Detail: keepers[0].String() + " still has the descriptor" + more}
	}
	return Outcome{Result: FDStillHeld, Detail: collectors.OwnerNames(keepers) + " still have the descriptor" + more}
}

// ChangedError says in what a target that is still there is no longer what was
// decided on. It counts as collectors.ErrGone.
type ChangedError struct{ Why string }

// Changedf returns a ChangedError.
func Changedf(format string, args ...any) error { return &ChangedError{fmt.Sprintf(format, args...)} }

func (c *ChangedError) Error() string { return c.Why }

// Is makes it one sort of collectors.ErrGone.
func (c *ChangedError) Is(target error) bool { return target == collectors.ErrGone }

// OutcomeOf turns the error of an attempt into an outcome; ErrGone is Changed, and
// what does not return from the kernel is Timeout.
func OutcomeOf(err error) Outcome {
	if changed, ok := errors.AsType[*ChangedError](err); ok {
		return Outcome{Result: Changed, Detail: changed.Why}
	}
	switch {
	case stuck.In(err) != nil:
		return Outcome{Result: Timeout, Err: err}
	case errors.Is(err, collectors.ErrGone):
		return Outcome{Result: Changed, Detail: "closed before we acted"}
	case errors.Is(err, collectors.ErrNotPermitted):
		return Outcome{Result: NotPermitted, Err: err}
	case errors.Is(err, collectors.ErrNotSupported):
		return Outcome{Result: Unsupported, Err: err}
	}
	return Outcome{Result: Failed, Err: err}
}

// Sealed is one socket that was decided on, as it was then.
type Sealed struct {
	Socket    collectors.Socket
	Namespace collectors.Namespace
	Facts     collectors.Facts
	// Open opens the socket's namespace; nil for the one of this process.
	Open func() (*os.File, error)
}

// Target is what an action is for: one or more sockets and, for actions on
// processes, the process that holds them all.
type Target struct {
	Rule    string
	Labels  map[string]string
	Sockets []Sealed
	Process *collectors.Owner // nil for none
	Host    string
}

// Action does one thing to targets. It is configured once and used for many
// targets, from one goroutine.
type Action interface {
	// Prepare looks the target up again and returns what would be done. An error
	// that is ErrGone says that the target is no longer what was decided on. It
	// changes nothing on the host.
	Prepare(ctx context.Context, t Target) (Effect, error)
}

// Batcher is an Action on single sockets that costs less for many at a time. Each
// target still has an effect and outcomes of its own. Its methods can run at the
// same time for different targets, VerifyAll only with a holds.
type Batcher interface {
	// PrepareAll is Prepare of each target.
	PrepareAll(ctx context.Context, targets []Target) []Prepared
	// ApplyAll is Apply of effects that PrepareAll returned.
	ApplyAll(ctx context.Context, effects []Effect) []Outcome
	// VerifyAll is Verify of such effects. Who still holds a socket is asked of
	// holds; if that is nil, the action looks itself.
	VerifyAll(ctx context.Context, effects []Effect, holds Holds) []Outcome
}

// Sessions is a Batcher that keeps what it opens for many calls in a row.
type Sessions interface {
	Batcher
	// Session returns a Batcher for one goroutine until it is closed. Its effects
	// outlive it.
	Session() (b Batcher, closes func())
}

// ErrNotBegun says that nothing was done to a target of a Batcher, since one before it
// took too long: it is to be looked at again.
var ErrNotBegun = errors.New("not begun, as one before it took too long")

// Prepared is an effect, with the socket as it was looked up, or an error.
type Prepared struct {
	Effect Effect
	Now    *collectors.Socket
	Err    error
	// Alone says that the target cannot be one of many, and is to be prepared and
	// applied by itself.
	Alone bool
}

// Holds reports whether a process holds the socket of that inode, as far as it
// can be seen.
type Holds func(o *collectors.Owner, inode uint32) bool

// Preflighter is an Action that can find out beforehand whether it could be done here.
type Preflighter interface {
	// Preflight returns why the action could not be done on any target of this host, nil
	// if it is not known that it could not. It changes nothing. No live run begins after
	// an error that is collectors.ErrNotPermitted or collectors.ErrNotSupported; doctor
	// and rules check say any.
	Preflight(ctx context.Context) error
}

// Effect is one thing about to be done to one target.
type Effect interface {
	// String says what Apply does, in the imperative: "destroy".
	String() string
	// Apply does it and returns at once. Its result is final unless it
	// succeeded: then Verify has the last word.
	Apply(ctx context.Context) Outcome
	// Verify looks at the target and says how far it got. It changes nothing and can be
	// called repeatedly.
	Verify(ctx context.Context) Outcome
}

// Stopper is an Effect that goes on by itself after Apply, as a program does that runs.
type Stopper interface {
	// Stop ends what is under way, waits a moment for its end and says what became of it,
	// as Verify does from then on. What has ended before is left as it is.
	Stop(ctx context.Context) Outcome
}

// Stop ends what is under way of an effect, if it can be ended, and says how far it got.
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
	// SecretFile says that it names a file whose content is a secret.
	SecretFile bool
	// Program says that it names a program of the host that is run.
	Program bool
	// Allows is what a rung opts in to by it: by true, or by the text of AllowsBy.
	Allows   Permissions
	AllowsBy string
}

// Plugin is an action that rules can name.
type Plugin struct {
	Name    string
	Summary string // one line
	Doc     string // what it does to the connection and the program, and what it does not do
	// Needs are privileges, features of the kernel and whatever else of the host it cannot
	// do without; NeedsWith are those with given parameters, nil where they are the same.
	Needs     []Need
	NeedsWith func(params map[string]any) []Need
	Params    []Param
	// Main is the parameter that stands directly behind the name, "" for none.
	Main string
	// Scope is what one effect is for.
	Scope
	// WithoutSocket says that it also works for a finding that has no socket: the
	// group of a host in which nothing matches.
	WithoutSocket bool
	// Program says that it runs a program of its own for each target, of which only a
	// few may run at a time.
	Program bool
	// NeedsCooldown refuses a rule that uses it without a cool-down.
	NeedsCooldown bool
	// Harmless actions change nothing on sockets and processes: guards,
	// cool-downs and the breaker are not for them.
	Harmless bool
	// Results are those with which it can end, besides changed, not_permitted and
	// unsupported, which every action has.
	Results []Result
	// Gentle actions change something, but a connection that lives loses nothing.
	Gentle bool
	// Warn says what may not be meant with valid parameters, for sockets as the query
	// asks for that have been silent for as long at least; "" for nothing, nil if there
	// is never anything to say.
	Warn func(params map[string]any, of *collectors.Query, silent time.Duration) string
	// New returns the action for the given parameters, all of them declared in
	// Params and of their types, or says what is wrong with them. It does no I/O.
	New func(params map[string]any) (Action, error)
}

// Registry holds the actions that the program was built with.
type Registry struct{ plugins []Plugin }

// NewRegistry refuses plugins without a name and two of the same name.
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

// Get returns the plugin with that name; the error lists the known ones.
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
