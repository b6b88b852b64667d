package world

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"sockwarden/collectors"
	"sockwarden/collectors/sockdiag"
)

// kernelSockets asks sources and sock_diag.
type kernelSockets struct{}

func (kernelSockets) Collect(
	ctx context.Context, ns *Namespace, source collectors.Plugin, q collectors.Query,
) iter.Seq2[*collectors.Socket, error] {
	if ns.closed != nil {
		return collectClosed(ctx, ns, source, q)
	}
	return func(yield func(*collectors.Socket, error) bool) {
		fd, closeNS, err := ns.open()
		if err != nil {
			yield(nil, err)
			return
		}
		defer closeNS()
		for s, err := range source.New(fd).Collect(ctx, q) {
			if !yield(s, err) {
				return
			}
		}
	}
}

func (kernelSockets) LookUp(ctx context.Context, ns *Namespace, socks []*collectors.Socket) ([]collectors.Socket, []error, error) {
	if ns.closed != nil {
		return lookUpClosed(ctx, ns, socks)
	}
	return ns.ask(ctx, (*sockdiag.Conn).GetAll, socks)
}

func (kernelSockets) OtherEnds(ctx context.Context, ns *Namespace, socks []*collectors.Socket) ([]collectors.Socket, []error, error) {
	return ns.ask(ctx, (*sockdiag.Conn).OtherEnds, socks)
}

// ask looks sockets up over one connection in the namespace.
func (ns *Namespace) ask(
	ctx context.Context, how func(*sockdiag.Conn, context.Context, []*collectors.Socket) ([]collectors.Socket, []error), socks []*collectors.Socket,
) ([]collectors.Socket, []error, error) {
	fd, closeNS, err := ns.open()
	if err != nil {
		return nil, nil, err
	}
	defer closeNS()
	conn, err := sockdiag.Dial(fd)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = conn.Close() }()
	now, errs := how(conn, ctx, socks)
	for i := range now {
		if now[i].NetNS == 0 {
			now[i].NetNS = ns.Inode
		}
	}
	return now, errs, nil
}

// ErrNotAsked says that a socket was not looked up because an earlier look-up hangs.
var ErrNotAsked = sockdiag.ErrNotAsked

// Named returns ErrNotSupported if the kernel shows no cookies for sockets of these
// protocols: without a cookie nothing is acted on.
func Named(ctx context.Context, protocols []collectors.Protocol) error {
	c, err := sockdiag.Dial(-1)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	for _, protocol := range protocols {
		if err = c.Handled(ctx, protocol); err == nil || !errors.Is(err, collectors.ErrNotSupported) {
			return nil // the run itself finds any other fault
		}
	}
	if err != nil {
		return fmt.Errorf("%w: load the modules tcp_diag, udp_diag and mptcp_diag (modprobe)", err)
	}
	return nil
}
