package actions

import (
	"maps"
	"testing"
)

// gate is an action with each way to opt in.
func gate() *Plugin {
	return &Plugin{Name: "gate", Params: []Param{
		{Name: "how", Type: "string"},
		{Name: "open", Type: "bool", Allows: AllowUDP},
		ProtectedParam(),
		{Name: "whose", Type: "string", Allows: AllowAllOwners, AllowsBy: "all"},
	}}
}

// What a rung must opt in to, for listeners and for connections that wait to be accepted,
// follows from its action's scope and parameters, and is shown as one writes it.
func TestForListeners(t *testing.T) {
	listen := Param{Name: "listen", Type: "bool", Allows: AllowListen}
	for _, test := range []struct {
		scope              Scope
		params             []Param
		main               string
		listen, unaccepted Permissions
		says               string
	}{
		{ScopeSocket, []Param{listen}, "", AllowListen, 0, "{door: {listen: true}}"},
		{ScopeSocket, nil, "", AllowListen, 0, ""},
		{ScopeProcess, nil, "", AllowListen, AllowListener, ""},
		{ScopeUnit, []Param{ListenerParam()}, "", AllowListener, AllowListener, "{door: {listener: true}}"},
		{ScopeProcess, []Param{ListenerParam()}, "how", AllowListener, AllowListener, "{door: TERM, listener: true}"},
		{ScopeNone, []Param{ListenerParam()}, "", AllowListener, AllowListener, "{door: {listener: true}}"},
		{ScopeNone, nil, "", AllowListen, 0, ""},
	} {
		p := &Plugin{Name: "door", Scope: test.scope, Params: test.params, Main: test.main}
		b := &Bound{Plugin: p, Params: map[string]any{"how": "TERM"}}
		if p.ForListen() != test.listen || p.ForUnaccepted() != test.unaccepted || b.Saying(test.listen) != test.says {
			t.Errorf("%+v: %q, %q, %q", test, p.ForListen(), p.ForUnaccepted(), b.Saying(test.listen))
		}
	}
}

// Only what a parameter's exact value says is allowed.
func TestAllows(t *testing.T) {
	for _, test := range []struct {
		params map[string]any
		want   Permissions
	}{
		{nil, 0},
		{map[string]any{"how": "all", "udp": true, "listen": true}, 0},
		{map[string]any{"open": false, "protected": "true", "whose": "one"}, 0},
		{map[string]any{"open": true}, AllowUDP},
		{map[string]any{"whose": "all"}, AllowAllOwners},
		{map[string]any{"whose": true}, 0},
		{map[string]any{"open": true, "protected": true, "whose": "all"}, AllowUDP | AllowProtected | AllowAllOwners},
	} {
		if got := gate().Allows(test.params); got != test.want {
			t.Errorf("%v: %q, not %q", test.params, got, test.want)
		}
	}
}

// The opt-ins that an action lists do opt in, and asking for one yields exactly that one.
func TestAsking(t *testing.T) {
	const all = AllowListen | AllowUDP | AllowProtected | AllowAllOwners | AllowListener
	want := map[string]any{"open": true, "protected": true, "whose": "all"}
	p := gate()
	if got := p.Asking(all); !maps.Equal(got, want) {
		t.Errorf("all: %v, not %v", got, want)
	}
	for what, how := range map[Permissions]string{
		AllowListen: "", AllowUDP: "open: true", AllowProtected: "protected: true", AllowAllOwners: "whose: all", AllowListener: "",
	} {
		if got := p.OptIn(what); got != how {
			t.Errorf("%s: %q, not %q", what, got, how)
		}
		if got := p.Allows(p.Asking(what)); (how != "") != (got == what) {
			t.Errorf("asking for %s allows %q", what, got)
		}
	}
	if got := all.String(); got != "listen,udp,protected,owners,listener" {
		t.Errorf("all are %q", got)
	}
}

// An action that cannot opt in to protected processes says why, and which actions can.
func TestNever(t *testing.T) {
	plugins := []Plugin{
		*gate(),
		{Name: "log", Harmless: true},
		{Name: "mend", Gentle: true},
		{Name: "kill", Scope: ScopeProcess},
		{Name: "door", Params: gate().Params},
	}
	for i := range plugins {
		plugins[i].New = func(map[string]any) (Action, error) { return nil, nil } //nolint:nilnil // it is never made
	}
	r, err := NewRegistry(plugins...)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"gate": "", "door": "", "log": "it changes nothing, and guards are not for it",
		"mend": "it takes nothing from a connection that lives, and is done for those of protected processes, too",
		"kill": "only what acts on one connection can be let at those of protected processes: gate and door",
	} {
		p, err := r.Get(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.Never(&p)["protected"]; got != want {
			t.Errorf("%s: %q, not %q", name, got, want)
		}
	}
}

// What guards want to know about a scope.
func TestScope(t *testing.T) {
	for s, want := range map[Scope][5]bool{ // OnProcess, OnUnit, Single, OnOwner, NeedsOwner
		ScopeNone:        {},
		ScopeSocket:      {false, false, true, false, false},
		ScopeOwnedSocket: {false, false, true, true, true},
		ScopeProcess:     {true, false, false, false, true},
		ScopeUnit:        {true, true, false, false, true},
	} {
		if got := [5]bool{s.OnProcess(), s.OnUnit(), s.Single(), s.OnOwner(), s.NeedsOwner()}; got != want {
			t.Errorf("%d: %v, not %v", s, got, want)
		}
	}
}
