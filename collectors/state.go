package collectors

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// State is a TCP state in the kernel's numbering (enum in
// include/net/tcp_states.h); UDP uses Established (connected) and Close.
type State uint8

// The states of RFC 9293 in the kernel's numbering. Close stands for sockets that are
// bound but neither listening nor connected.
const (
	Established State = 1
	SynSent     State = 2
	SynRecv     State = 3
	FinWait1    State = 4
	FinWait2    State = 5
	TimeWait    State = 6
	Close       State = 7
	CloseWait   State = 8
	LastAck     State = 9
	Listen      State = 10
	Closing     State = 11
	// BoundInactive is the number that Linux 6.8 and later give a bound TCP socket that
	// neither listens nor is connected; records show it as Close.
	BoundInactive State = 13
)

// StateMask is a set of states, bit 1<<state, as in idiag_states.
type StateMask uint32

// AllStates holds every state that a dump can show.
const AllStates StateMask = 1<<Established | 1<<SynSent | 1<<SynRecv | 1<<FinWait1 | 1<<FinWait2 |
	1<<TimeWait | 1<<Close | 1<<CloseWait | 1<<LastAck | 1<<Listen | 1<<Closing

// Has reports whether s is in the mask.
func (m StateMask) Has(s State) bool { return m&(1<<s) != 0 }

// Mask returns the set that holds exactly the given states.
func Mask(states ...State) StateMask {
	var m StateMask
	for _, s := range states {
		m |= 1 << s
	}
	return m
}

var stateNames = [...]string{
	Established: "ESTABLISHED", SynSent: "SYN_SENT", SynRecv: "SYN_RECV", FinWait1: "FIN_WAIT1",
	FinWait2: "FIN_WAIT2", TimeWait: "TIME_WAIT", Close: "CLOSE", CloseWait: "CLOSE_WAIT",
	LastAck: "LAST_ACK", Listen: "LISTEN", Closing: "CLOSING",
}

// String returns the name in netstat's spelling, such as CLOSE_WAIT.
func (s State) String() string {
	if int(s) < len(stateNames) && stateNames[s] != "" {
		return stateNames[s]
	}
	return fmt.Sprintf("STATE_%d", uint8(s))
}

// StateNames lists the names of all states in the kernel's order.
func StateNames() []string {
	var names []string
	for _, n := range stateNames {
		if n != "" {
			names = append(names, n)
		}
	}
	return names
}

// StateSpellings lists all names that ParseState takes, as the kernel would spell them: those
// of StateNames, and other ones of ss and netstat.
func StateSpellings() []string {
	return append(StateNames(), slices.Sorted(maps.Keys(stateAliases))...)
}

// stateAliases are other spellings in ss and netstat.
var stateAliases = map[string]State{
	"ESTAB":      Established,
	"FIN_WAIT_1": FinWait1, "FIN_WAIT_2": FinWait2,
	"SYN_RCVD": SynRecv, "SYN_RECEIVED": SynRecv,
	"LISTENING": Listen, "CLOSED": Close, "UNCONN": Close, "UNCONNECTED": Close,
	"BOUND_INACTIVE": Close,
}

// ParseState returns the state of that name, in the spelling of the kernel, netstat or
// ss: CLOSE_WAIT, close-wait and "Close Wait" are the same.
func ParseState(name string) (State, bool) {
	n := normalState(name)
	for s, known := range stateNames {
		if known == n && n != "" {
			return State(s), true
		}
	}
	s, ok := stateAliases[n]
	return s, ok
}

// ParseStates returns the mask for a state name or a group of ss: connected (neither
// LISTEN nor CLOSE), synchronized (connected, without SYN_SENT), bucket (SYN_RECV and
// TIME_WAIT) and big (all but those two). It also knows all: every state but LISTEN, as
// in kill_hbbs_hbbr_connections.sh.
func ParseStates(name string) (StateMask, bool) {
	switch normalState(name) {
	case "ALL":
		return AllStates &^ Mask(Listen), true
	case "CONNECTED":
		return AllStates &^ Mask(Listen, Close), true
	case "SYNCHRONIZED":
		return AllStates &^ Mask(Listen, Close, SynSent), true
	case "BUCKET":
		return Mask(SynRecv, TimeWait), true
	case "BIG":
		return AllStates &^ Mask(SynRecv, TimeWait), true
	}
	if s, ok := ParseState(name); ok {
		return Mask(s), true
	}
	return 0, false
}

func normalState(name string) string {
	return strings.NewReplacer("-", "_", " ", "_").Replace(strings.ToUpper(strings.TrimSpace(name)))
}
