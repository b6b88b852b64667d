package sockdiag

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// OtherEnds looks in the namespace of c for the other ends of TCP connections: for each of
// socks it returns the socket whose two ends are those exchanged, or an error. It is
// ErrGone where there is none; a listener is no end of a connection. A socket that is bound
// to a device is found only where that is the one of the socket at this end. It takes no
// lock of sockets, and shows no tcp_info.
func (c *Conn) OtherEnds(ctx context.Context, socks []*collectors.Socket) ([]collectors.Socket, []error) {
	found, errs := make([]collectors.Socket, len(socks)), make([]error, len(socks))
	for at := 0; at < len(socks); at += batchLen {
		part := socks[at:min(at+batchLen, len(socks))]
		b := batch{typ: typeByFamily, now: found[at:], errs: errs[at:]}
		for i, s := range part {
			b.append(unix.NLM_F_REQUEST, c.reversed(s))
			b.errs[i] = ErrNoAnswer
		}
		lost := c.exchange(ctx, &b, part)
		for i := range part {
			end := &found[at+i]
			switch err := errs[at+i]; {
			case err != nil && lost != nil:
				errs[at+i] = fmt.Errorf("other end of socket %x: %w", part[i].Cookie, lost)
			case err != nil:
				errs[at+i] = fmt.Errorf("other end of socket %x: %w", part[i].Cookie, err)
			case end.State == collectors.Listen:
				errs[at+i] = fmt.Errorf("other end of socket %x: %w", part[i].Cookie, collectors.ErrGone)
			default:
				end.NetNS = c.id
			}
		}
	}
	return found, errs
}

// noCookie asks for whatever socket has the tuple (INET_DIAG_NOCOOKIE). Nothing is ever
// destroyed by it.
const noCookie = ^uint64(0)

// reversed returns the request for the other end of s. Mapped addresses are those of IPv4:
// the other end of a dual-stack socket can be a socket of IPv4.
func (c *Conn) reversed(s *collectors.Socket) []byte {
	end := collectors.Socket{
		Protocol: collectors.TCP, Family: collectors.IPv6, Local: s.Remote, Remote: s.Local, LocalPort: s.RemotePort, RemotePort: s.LocalPort, Cookie: noCookie,
	}
	if s.Remote.IsIPv4() {
		end.Family = collectors.IPv4
	}
	if s.NetNS == c.id && c.id != 0 && s.IfIndex != collectors.UnknownIfIndex { // elsewhere interfaces have other numbers
		end.IfIndex = s.IfIndex
	}
	body := exactRequest(&end)
	body[2] = 0 // no tcp_info
	return body
}
