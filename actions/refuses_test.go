package actions

import (
	"testing"

	"sockwarden/collectors"
)

// The purpose of an action and the opt-ins of a rung decide what the rung is never
// applied to.
func TestRefuses(t *testing.T) {
	const none, has = 0, 7 // inodes
	tcp := func(state collectors.State, inode uint32) *collectors.Socket {
		return &collectors.Socket{Protocol: collectors.TCP, State: state, Inode: inode}
	}
	listener := map[string]any{"listener": true}
	mptcp := func(state collectors.State) *collectors.Socket {
		return &collectors.Socket{Protocol: collectors.MPTCP, State: state, Inode: has}
	}
	udp := &collectors.Socket{Protocol: collectors.UDP, State: collectors.Close, Inode: has}
	opens := map[string]any{"open": true}
	for _, test := range []struct {
		scope  Scope
		params map[string]any
		s      *collectors.Socket
		want   string
	}{
		{ScopeSocket, nil, tcp(collectors.CloseWait, has), ""},
		{ScopeSocket, nil, tcp(collectors.TimeWait, none), ""},
		{ScopeSocket, nil, tcp(collectors.Listen, has), "it is about listeners, which gate is not for"},
		{ScopeSocket, nil, tcp(collectors.Close, has), "these are bound, not connected: the kernel cannot destroy them"},
		{ScopeNone, nil, tcp(collectors.Close, has), "these are bound, not connected: the kernel cannot destroy them"},
		{ScopeProcess, nil, tcp(collectors.Close, has), ""},
		{ScopeSocket, nil, mptcp(collectors.CloseWait), "it is about MPTCP, which gate is not for: abort ends the whole connection"},
		{ScopeOwnedSocket, nil, mptcp(collectors.CloseWait), "it is about MPTCP, which gate is not for: abort ends the whole connection"},
		{ScopeSocket, nil, mptcp(collectors.Listen), "it is about listeners, which gate is not for"},
		{ScopeProcess, nil, mptcp(collectors.CloseWait), ""},
		{ScopeNone, nil, mptcp(collectors.CloseWait), ""},
		{ScopeNone, nil, mptcp(collectors.Close), "these are bound, not connected: the kernel cannot destroy them"},
		{ScopeSocket, nil, udp, "it is about UDP, which takes {gate: {open: true}}"},
		{ScopeSocket, opens, udp, ""},
		{ScopeProcess, opens, udp, ""},
		{ScopeProcess, nil, tcp(collectors.TimeWait, none), "no process has such sockets, and gate is for the process"},
		{ScopeUnit, nil, tcp(collectors.FinWait2, none), "no process has such sockets, and gate is for the process"},
		{ScopeOwnedSocket, nil, tcp(collectors.SynRecv, none), "no process has such sockets, and gate is for the process"},
		{ScopeOwnedSocket, nil, tcp(collectors.FinWait2, has), ""},
		{ScopeSocket, nil, tcp(collectors.CloseWait, none), ""},
		{ScopeProcess, nil, tcp(collectors.CloseWait, none), "it is about connections that wait to be accepted, which takes {gate: {listener: true}}"},
		{ScopeProcess, listener, tcp(collectors.Established, none), ""},
		{ScopeNone, nil, tcp(collectors.Established, none), "it is about connections that wait to be accepted, which takes {gate: {listener: true}}"},
		{ScopeNone, listener, tcp(collectors.Established, none), ""},
		{ScopeUnit, nil, tcp(collectors.Listen, has), "it is about listeners, which takes {gate: {listener: true}}"},
		{ScopeUnit, listener, tcp(collectors.Listen, has), ""},
		{ScopeProcess, listener, tcp(collectors.TimeWait, none), "no process has such sockets, and gate is for the process"},
	} {
		p := gate()
		if p.Scope = test.scope; !p.Single() {
			p.Params = append(p.Params, ListenerParam())
		}
		p.New = func(map[string]any) (Action, error) { return nil, nil } //nolint:nilnil // it is never used
		for _, kind := range []string{"", "harmless", "without socket"} {
			p.Harmless, p.WithoutSocket = kind == "harmless", kind == "without socket"
			b, err := p.Bind(test.params)
			if err != nil {
				t.Fatal(err)
			}
			want := test.want
			if kind != "" {
				want = ""
			}
			if got := b.Refuses(test.s); got != want {
				t.Errorf("%s %s, %v, %+v: %q, not %q", kind, test.scope.Words(), test.params, test.s, got, want)
			}
		}
	}
}
