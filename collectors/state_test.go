package collectors

import (
	"slices"
	"strings"
	"testing"
)

// State names as the kernel, ss, netstat and people spell them.
func TestParseState(t *testing.T) {
	for want, names := range map[State][]string{
		Established: {"ESTABLISHED", "ESTAB", "established", "estab", " Established "},
		SynSent:     {"SYN_SENT", "SYN-SENT", "syn-sent", "syn sent"},
		SynRecv:     {"SYN_RECV", "SYN-RECV", "SYN_RCVD", "SYN-RCVD", "syn-received", "SYN_RECEIVED"},
		FinWait1:    {"FIN_WAIT1", "FIN-WAIT-1", "fin-wait-1", "FIN_WAIT_1", "Fin-Wait1"},
		FinWait2:    {"FIN_WAIT2", "FIN-WAIT-2", "fin-wait-2", "FIN_WAIT_2"},
		TimeWait:    {"TIME_WAIT", "TIME-WAIT", "time-wait", "Time Wait"},
		Close:       {"CLOSE", "CLOSED", "closed", "UNCONN", "unconnected", "bound-inactive"},
		CloseWait:   {"CLOSE_WAIT", "CLOSE-WAIT", "close-wait", "Close Wait"},
		LastAck:     {"LAST_ACK", "LAST-ACK", "last-ack"},
		Listen:      {"LISTEN", "LISTENING", "listen", "listening"},
		Closing:     {"CLOSING", "closing"},
	} {
		for _, name := range names {
			if s, ok := ParseState(name); !ok || s != want {
				t.Errorf("%q: %s (%t), not %s", name, s, ok, want)
			}
			if m, ok := ParseStates(name); !ok || m != Mask(want) {
				t.Errorf("%q: mask %b (%t), not %s", name, m, ok, want)
			}
		}
	}
	for _, name := range []string{"", " ", "CLOSEWAIT", "CLOSE__WAIT", "FIN_WAIT", "FIN_WAIT3", "STATE_7", "8", "ESTABLISHED,LISTEN", "NEW_SYN_RECV"} {
		if s, ok := ParseState(name); ok {
			t.Errorf("%q: %s", name, s)
		}
		if m, ok := ParseStates(name); ok || m != 0 {
			t.Errorf("%q: mask %b (%t)", name, m, ok)
		}
	}
}

// The groups of ss, state by state.
func TestParseStates(t *testing.T) {
	connected := []State{Established, SynSent, SynRecv, FinWait1, FinWait2, TimeWait, CloseWait, LastAck, Closing}
	without := func(some []State, s ...State) []State {
		return slices.DeleteFunc(slices.Clone(some), func(x State) bool { return slices.Contains(s, x) })
	}
	for name, want := range map[string][]State{
		"all":          append([]State{Close}, connected...),
		"connected":    connected,
		"synchronized": without(connected, SynSent),
		"bucket":       {SynRecv, TimeWait},
		"big":          append([]State{Close, Listen}, without(connected, SynRecv, TimeWait)...),
	} {
		for _, spelled := range []string{name, strings.ToUpper(name), " " + name} {
			if m, ok := ParseStates(spelled); !ok || m != Mask(want...) {
				t.Errorf("%q: mask %b (%t), not %b", spelled, m, ok, Mask(want...))
			}
		}
		if s, ok := ParseState(name); ok {
			t.Errorf("%q is the state %s", name, s)
		}
	}
}

func TestStateNames(t *testing.T) {
	names := StateNames()
	if len(names) != 11 {
		t.Errorf("%q", names)
	}
	var all StateMask
	for _, name := range names {
		s, ok := ParseState(name)
		if !ok || s.String() != name {
			t.Errorf("%s is read as %s (%t)", name, s, ok)
		}
		all |= Mask(s)
	}
	if all != AllStates {
		t.Errorf("names for %b, all states are %b", all, AllStates)
	}
	for _, s := range []State{0, 12, BoundInactive, 31, 255} {
		if s.String() == "" || slices.Contains(names, s.String()) || AllStates.Has(s) {
			t.Errorf("state %d is %s", uint8(s), s)
		}
	}
}
