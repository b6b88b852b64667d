package socklab

import "sockwarden/collectors"

// Kind is a kind of socket that Make makes: a state, and variants of it that sock_diag
// can tell apart.
type Kind uint8

// The kinds of sockets. Unless a comment says otherwise, this process has the socket
// open. Orphans are closed by this process and kept by the kernel.
const (
	Established           Kind = iota // idle connection
	EstablishedUnaccepted             // in the accept queue of a listener
	CloseWait                         // everything is read, including the end of the stream
	CloseWaitFIN                      // only the end of the stream is unread
	CloseWaitUnread                   // UnreadBytes and the end of the stream are unread
	CloseWaitUnaccepted               // in the accept queue of a listener
	FinWait1                          // the peer does not hear the FIN
	FinWait1Orphan
	FinWait2 // shut down for writing
	FinWait2Orphan
	Closing // both have sent a FIN, the peer does not hear ours
	ClosingOrphan
	LastAck // the peer does not hear our FIN
	LastAckOrphan
	TimeWait
	SynSent // the peer does not hear the SYN
	SynRecv // the peer does not hear the SYN-ACK; no process holds the socket
	Listen
	Bound // TCP, neither listening nor connected
	UDPBound
	UDPConnected
	kindCount
)

// UnreadBytes is how much a socket of kind CloseWaitUnread has not read.
const UnreadBytes = 10

// op is a step toward a kind, taken with both ends connected.
type op uint8

const (
	peerSends  op = iota // UnreadBytes bytes
	peerShuts            // FIN from the peer
	peerCloses           // the same, and the peer is gone
	peerMuted            // from now on the peer loses what comes in
	readEOF              // read everything
	shuts                // FIN, the process keeps the socket
	closes               // FIN, the process closes the socket
)

// A step leads into a state; 0 means that the state does not change.
type step struct {
	op   op
	into collectors.State
}

type recipe struct {
	name       string
	state      collectors.State
	orphan     bool
	unaccepted bool
	steps      []step
}

var recipes = [kindCount]recipe{
	Established:           {name: "ESTABLISHED", state: collectors.Established},
	EstablishedUnaccepted: {name: "ESTABLISHED-unaccepted", state: collectors.Established, unaccepted: true},
	CloseWait:             {name: "CLOSE_WAIT", state: collectors.CloseWait, steps: []step{{peerShuts, collectors.CloseWait}, {readEOF, 0}}},
	CloseWaitFIN:          {name: "CLOSE_WAIT-fin", state: collectors.CloseWait, steps: []step{{peerShuts, collectors.CloseWait}}},
	CloseWaitUnread:       {name: "CLOSE_WAIT-unread", state: collectors.CloseWait, steps: []step{{peerSends, 0}, {peerShuts, collectors.CloseWait}}},
	CloseWaitUnaccepted:   {name: "CLOSE_WAIT-unaccepted", state: collectors.CloseWait, unaccepted: true, steps: []step{{peerShuts, collectors.CloseWait}}},
	FinWait1:              {name: "FIN_WAIT1", state: collectors.FinWait1, steps: []step{{peerMuted, 0}, {shuts, collectors.FinWait1}}},
	FinWait1Orphan:        {name: "FIN_WAIT1-orphan", state: collectors.FinWait1, orphan: true, steps: []step{{peerMuted, 0}, {closes, collectors.FinWait1}}},
	FinWait2:              {name: "FIN_WAIT2", state: collectors.FinWait2, steps: []step{{shuts, collectors.FinWait2}}},
	FinWait2Orphan:        {name: "FIN_WAIT2-orphan", state: collectors.FinWait2, orphan: true, steps: []step{{closes, collectors.FinWait2}}},
	Closing: {name: "CLOSING", state: collectors.Closing, steps: []step{
		{peerMuted, 0}, {shuts, collectors.FinWait1}, {peerShuts, collectors.Closing},
	}},
	ClosingOrphan: {name: "CLOSING-orphan", state: collectors.Closing, orphan: true, steps: []step{
		{peerMuted, 0}, {closes, collectors.FinWait1}, {peerShuts, collectors.Closing},
	}},
	LastAck: {name: "LAST_ACK", state: collectors.LastAck, steps: []step{
		{peerShuts, collectors.CloseWait}, {peerMuted, 0}, {shuts, collectors.LastAck},
	}},
	LastAckOrphan: {name: "LAST_ACK-orphan", state: collectors.LastAck, orphan: true, steps: []step{
		{peerShuts, collectors.CloseWait}, {peerMuted, 0}, {closes, collectors.LastAck},
	}},
	TimeWait: {name: "TIME_WAIT", state: collectors.TimeWait, steps: []step{
		{closes, collectors.FinWait2}, {peerCloses, collectors.TimeWait},
	}},
	SynSent:      {name: "SYN_SENT", state: collectors.SynSent},
	SynRecv:      {name: "SYN_RECV", state: collectors.SynRecv},
	Listen:       {name: "LISTEN", state: collectors.Listen},
	Bound:        {name: "CLOSE-bound", state: collectors.Close},
	UDPBound:     {name: "UDP-bound", state: collectors.Close},
	UDPConnected: {name: "UDP-connected", state: collectors.Established},
}

// Kinds lists all kinds.
func Kinds() []Kind {
	all := make([]Kind, kindCount)
	for k := range all {
		all[k] = Kind(k)
	}
	return all
}

// String is the name of the state and the kind's peculiarity. It names subtests.
func (k Kind) String() string { return recipes[k].name }

// State is the state that sock_diag shows for sockets of the kind.
func (k Kind) State() collectors.State { return recipes[k].state }

// Orphan reports whether the process has closed the socket and only the kernel still
// works on it.
func (k Kind) Orphan() bool { return recipes[k].orphan }

// Unaccepted reports whether the socket waits in the accept queue.
func (k Kind) Unaccepted() bool { return recipes[k].unaccepted }

// Owned reports whether this process has the socket open.
func (k Kind) Owned() bool {
	return !k.Orphan() && !k.Unaccepted() && k != TimeWait && k != SynRecv
}

// incoming reports whether such a socket can only arrive through a listener.
func (k Kind) incoming() bool { return k.Unaccepted() || k == SynRecv }

// alone reports whether such a socket needs no connection.
func (k Kind) alone() bool {
	return k == Listen || k == Bound || k.Protocol() == collectors.UDP
}

// Protocol is the protocol of such sockets.
func (k Kind) Protocol() collectors.Protocol {
	if k == UDPBound || k == UDPConnected {
		return collectors.UDP
	}
	return collectors.TCP
}
