// Package destroy closes sockets in the kernel by SOCK_DESTROY.
//
// Comes in: one socket with its cookie. Goes out: whether it is gone from the kernel, and
// whether its process still keeps the descriptor. It never identifies a socket by address
// alone.
package destroy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"sockwarden/actions"
	"sockwarden/actions/abort"
	"sockwarden/actions/ownersock"
	"sockwarden/collectors"
	"sockwarden/collectors/procfs"
	"sockwarden/collectors/sockdiag"
	"sockwarden/collectors/stuck"
)

// Plugin returns the registration of the action.
func Plugin() actions.Plugin {
	proc := procfs.New("") // shared by all targets: for a moment it remembers who holds what
	return actions.Plugin{
		Name:    "destroy",
		Summary: "closes the socket in the kernel (SOCK_DESTROY)",
		Doc: "The program gets ECONNABORTED or EOF and wakes up; the peer gets a RST in ESTABLISHED, CLOSE_WAIT, FIN_WAIT1 and " +
			"FIN_WAIT2. The descriptor stays open in the program until it closes it: a leak of descriptors stays a leak, and the result is then fd_still_held. " +
			"A UDP socket that bound a port of its choice gets one ECONNABORTED and goes on answering, which is unchanged; " +
			"if it was connected, it receives from others, too; " +
			"one whose port the kernel chose is gone, and its program hears nothing until it binds again.",
		Needs:     needs(nil),
		NeedsWith: needs,
		Params: []actions.Param{
			{Name: "listen", Type: "bool", Allows: actions.AllowListen, Doc: "also destroy listeners: the service is dead afterwards while its process lives"},
			{
				Name: "udp", Type: "bool", Allows: actions.AllowUDP,
				Doc: "also destroy UDP sockets: ends connected ones and those on a port that the kernel chose, which go deaf, but no server that bound its port",
			},
			actions.ProtectedParam(),
			{Name: "method", Type: "string", Doc: "netlink, pidfd (as abort does), or auto (default): pidfd where the kernel or the namespace refuses netlink"},
		},
		Scope:   actions.ScopeSocket,
		Warn:    warn,
		Results: []actions.Result{actions.Gone, actions.FDStillHeld, actions.Unchanged, actions.Refused, actions.Failed},
		New:     func(params map[string]any) (actions.Action, error) { return newAction(params, proc) },
	}
}

// needs are those of the method that the parameters choose.
func needs(params map[string]any) []actions.Need {
	if params["method"] == "pidfd" {
		return ownersock.Needs()
	}
	return []actions.Need{
		{Capability: actions.CapNetAdmin, Use: "destroying sockets"},
		{Feature: actions.SockDestroy},
		{Capability: actions.CapSysAdmin, For: "for other namespaces", Elsewhere: true},
	}
}

// warn says what destroying does not do to unconnected UDP sockets.
func warn(params map[string]any, of *collectors.Query, _ time.Duration) string {
	if params["udp"] != true || !slices.Contains(of.Protocols, collectors.UDP) || !of.States.Has(collectors.Close) {
		return ""
	}
	return "a UDP server that bound its port gets one error and goes on answering; one whose port the kernel chose goes deaf"
}

func newAction(params map[string]any, proc *procfs.FS) (actions.Action, error) {
	a := action{method: "auto", proc: proc}
	if m, ok := params["method"].(string); ok {
		a.method = m
	}
	if a.method != "auto" && a.method != "netlink" && a.method != "pidfd" {
		return nil, fmt.Errorf("method is auto, netlink or pidfd, not %q", a.method)
	}
	if a.method == "pidfd" {
		return oneByOne{a}, nil
	}
	return a, nil
}

// oneByOne is an action without batches: it looks for each socket in the descriptor table
// of its process.
type oneByOne struct{ actions.Action }

type action struct {
	method string
	proc   *procfs.FS
	conns  *conns // of a session, nil for none
}

// Prepare looks up the socket by its cookie, or in its process if the kernel cannot
// destroy or we cannot enter the namespace.
func (a action) Prepare(ctx context.Context, t actions.Target) (actions.Effect, error) {
	if len(t.Sockets) == 1 && t.Sockets[0].Socket.Protocol == collectors.MPTCP {
		return nil, errMPTCP
	}
	if a.method == "pidfd" {
		return abort.Action{Proc: procfs.New("")}.Prepare(ctx, t)
	}
	e, err := a.byNetlink(ctx, t)
	denied, unsupported := errors.Is(err, collectors.ErrNotPermitted), errors.Is(err, collectors.ErrNotSupported)
	switch elsewhere := len(t.Sockets) == 1 && t.Sockets[0].Open != nil; {
	case !denied && !unsupported:
		return e, err
	case !a.canAbort(t) && denied && elsewhere: // what cannot be entered says nothing of other namespaces
		return nil, &actions.TargetError{Err: fmt.Errorf("its network namespace: %w", err)}
	case !a.canAbort(t):
		return e, err
	}
	return abort.Action{Proc: procfs.New("")}.Prepare(ctx, t)
}

var errMPTCP = errors.New("the kernel does not destroy connections of MPTCP: use abort")

// canAbort reports whether aborting is an option for the target.
func (a action) canAbort(t actions.Target) bool {
	return a.method == "auto" && len(t.Sockets) == 1 && len(t.Sockets[0].Facts.Owners) > 0 && t.Sockets[0].Socket.Protocol == collectors.TCP &&
		t.Sockets[0].Socket.State != collectors.Listen
}

func (a action) byNetlink(ctx context.Context, t actions.Target) (actions.Effect, error) {
	if len(t.Sockets) != 1 {
		return nil, fmt.Errorf("destroy is for one socket, not %d", len(t.Sockets))
	}
	e := a.effect(t)
	now, err := e.look(ctx)
	if err != nil {
		return nil, err
	}
	if err := e.decidedOn(&now); err != nil {
		return nil, err
	}
	return e, nil
}

func (a action) effect(t actions.Target) *effect {
	e := &effect{proc: a.proc, sealed: t.Sockets[0], conns: a.conns}
	if a.canAbort(t) {
		e.abort = func(ctx context.Context) (actions.Effect, error) {
			return abort.Action{Proc: procfs.New("")}.Prepare(ctx, t)
		}
	}
	return e
}

// decidedOn returns ErrGone if the socket is no longer what was decided on.
func (e *effect) decidedOn(now *collectors.Socket) error {
	decided := &e.sealed.Socket
	if collectors.KeyOf(now) != collectors.KeyOf(decided) {
		return fmt.Errorf("socket %x is now %s: %w", decided.Cookie, now.State, collectors.ErrGone)
	}
	return nil
}

type effect struct {
	proc   *procfs.FS
	sealed actions.Sealed
	conns  *conns // of the session that made it
	// abort prepares the other way, nil if there is none; other is set once it was taken.
	abort func(context.Context) (actions.Effect, error)
	other actions.Effect
	// keepers are the owners that still keep the descriptor.
	keepers []collectors.Owner
}

func (e *effect) String() string { return "destroy" }

// Apply destroys exactly the socket with that cookie.
func (e *effect) Apply(ctx context.Context) actions.Outcome {
	return e.applied(ctx, e.with(func(c *sockdiag.Conn) error { return c.Destroy(ctx, &e.sealed.Socket) }), new(bool))
}

// applied is the outcome of a request to destroy that ended with err. For a request that
// hangs it looks whether the socket still exists. Once such a look hangs, too, it sets
// blind and looks no more.
func (e *effect) applied(ctx context.Context, err error, blind *bool) actions.Outcome {
	if errors.Is(err, collectors.ErrGone) {
		// In an SO_REUSEPORT group the kernel finds only one member.
		if now, lookErr := e.look(ctx); lookErr == nil {
			return actions.Outcome{Result: actions.Refused, Detail: fmt.Sprintf("still %s: the kernel does not find it by its address", now.State)}
		}
	}
	if stuck.In(err) != nil && !errors.Is(err, sockdiag.ErrNotAsked) {
		return e.hanging(ctx, err, blind)
	}
	if errors.Is(err, sockdiag.ErrNoAnswer) {
		err = nil // Verify will see whether it was done
	}
	if errors.Is(err, collectors.ErrNotSupported) && e.abort != nil {
		return e.tryAbort(ctx, err)
	}
	if err != nil {
		return actions.OutcomeOf(err)
	}
	return actions.Outcome{Result: actions.Gone}
}

// hanging is the outcome of a request from which the kernel has not come back: it is
// waiting for the lock of this socket, or of another one in the same batch. Before Linux
// 6.9 that also holds up looks at the others.
func (e *effect) hanging(ctx context.Context, err error, blind *bool) actions.Outcome {
	there := true
	if !*blind {
		lookErr := e.with(func(c *sockdiag.Conn) (err error) {
			there, err = c.Exists(ctx, &e.sealed.Socket)
			return err
		})
		*blind = lookErr != nil
	}
	detail := "the kernel destroys it as soon as the socket that it waits for is free"
	switch {
	case *blind:
		detail = "the kernel has destroyed it, or does as soon as the socket that it waits for is free: until then that cannot be seen"
	case !there:
		return actions.Outcome{Result: actions.Gone}
	}
	return actions.Outcome{Result: actions.Timeout, Err: err, Detail: detail}
}

// tryAbort aborts instead, on a kernel that cannot destroy.
func (e *effect) tryAbort(ctx context.Context, refused error) actions.Outcome {
	other, err := e.abort(ctx)
	if err != nil {
		return actions.OutcomeOf(errors.Join(refused, err))
	}
	e.other = other
	return other.Apply(ctx)
}

// Verify checks whether the socket is gone from the kernel, and whether a process that
// had it still keeps the descriptor.
func (e *effect) Verify(ctx context.Context) actions.Outcome {
	if e.other != nil {
		return e.other.Verify(ctx)
	}
	now, err := e.look(ctx)
	return e.verified(&now, err, nil)
}

// verified is the outcome of a look at the socket after destroying it.
func (e *effect) verified(now *collectors.Socket, err error, holds actions.Holds) actions.Outcome {
	if holds == nil {
		holds = func(o *collectors.Owner, inode uint32) bool {
			held, err := e.proc.HeldLately(o.PID, o.StartTime, inode)
			return err == nil && held
		}
	}
	switch {
	case err == nil && now.State == collectors.Close && e.sealed.Socket.State != collectors.Close:
		// A listener or connected UDP socket that chose its own port stays bound to it,
		// and the kernel shows that, but what we destroyed is gone.
	case err == nil && now.Protocol == collectors.UDP:
		return actions.Outcome{Result: actions.Unchanged, Detail: "it bound its port: the program got one error, and it goes on answering"}
	case err == nil:
		return actions.Outcome{Result: actions.Refused, Detail: fmt.Sprintf("still %s after the kernel took the request", now.State)}
	case !errors.Is(err, collectors.ErrGone):
		return actions.OutcomeOf(err)
	}
	e.keepers = nil
	for i := range e.sealed.Facts.Owners {
		if o := &e.sealed.Facts.Owners[i]; holds(o, e.sealed.Socket.Inode) {
			e.keepers = append(e.keepers, *o)
		}
	}
	return actions.StillHeld(e.keepers, e.hears(err))
}

// Keepers are the owners that still keep the descriptor.
func (e *effect) Keepers() []collectors.Owner {
	if k, ok := e.other.(actions.Keeping); ok {
		return k.Keepers()
	}
	return e.keepers
}

// hears says what a UDP socket with a remaining descriptor still receives; err comes from
// the look at it.
func (e *effect) hears(err error) string {
	switch {
	case e.sealed.Socket.Protocol != collectors.UDP:
		return ""
	case err == nil: // it chose its own port, and the kernel leaves it only that
		return ", which is no longer connected and still receives on the port that it bound"
	}
	return ", which hears nothing until it is bound again"
}

func (e *effect) look(ctx context.Context) (now collectors.Socket, err error) {
	err = e.with(func(c *sockdiag.Conn) error {
		now, err = c.Get(ctx, &e.sealed.Socket)
		if now.NetNS == 0 {
			now.NetNS = e.sealed.Socket.NetNS
		}
		return err
	})
	return now, err
}

// with runs f on a connection in the namespace of the socket.
func (e *effect) with(f func(*sockdiag.Conn) error) error {
	if c := e.conns.get(e.sealed.Socket.NetNS); c != nil {
		return f(c)
	}
	c, err := e.dial()
	if err != nil {
		return err
	}
	if !e.conns.keep(e.sealed.Socket.NetNS, c) {
		defer func() { _ = c.Close() }()
	}
	return f(c)
}

func (e *effect) dial() (*sockdiag.Conn, error) {
	fd := -1
	if e.sealed.Open != nil {
		ns, err := e.sealed.Open()
		switch {
		case errors.Is(err, fs.ErrNotExist): // and all its sockets are gone with it
			return nil, fmt.Errorf("%w: %w", collectors.ErrGone, err)
		case errors.Is(err, fs.ErrPermission):
			return nil, fmt.Errorf("%w: %w", collectors.ErrNotPermitted, err)
		case err != nil:
			return nil, err
		}
		defer func() { _ = ns.Close() }()
		fd = int(ns.Fd())
	}
	return sockdiag.Dial(fd)
}
