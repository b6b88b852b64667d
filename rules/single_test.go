package rules

import (
	"testing"

	"sockwarden/collectors"
)

// A selection by owner holds if it does for one of them, and is false only if it is known
// to be false for all; the text of the selection is for each of them.
func TestSelectionOwner(t *testing.T) {
	own := collectors.OwnerFields()
	a, b := collectors.Owner{Known: own, PID: 5, Name: "a"}, collectors.Owner{Known: own, PID: 6, Name: "b"}
	unread := collectors.Owner{PID: 7}
	for _, test := range []struct {
		text, owner string
		owners      []collectors.Owner
		hidden      bool
		want        Tri
	}{
		{"true", "pid in [6]", []collectors.Owner{a, b}, false, True},
		{"true", "pid in [5]", []collectors.Owner{a, b}, false, True},
		{"true", `process in ["b"]`, []collectors.Owner{a, b}, true, True},
		{"true", `pid in [5] and process in ["b"]`, []collectors.Owner{a, b}, false, False}, // of the same owner
		{"true", "pid in [9]", []collectors.Owner{a, b}, false, False},
		{"true", "pid in [9]", []collectors.Owner{a, b}, true, Unknown},
		{"true", `process in ["c"]`, []collectors.Owner{a, unread}, false, Unknown},
		{"true", "pid in [5]", []collectors.Owner{a}, false, True},
		{"true", "pid in [5]", nil, false, Unknown},
		{"port == 80", "pid in [6]", []collectors.Owner{a, b}, false, True},
		{"port == 81", "pid in [6]", []collectors.Owner{a, b}, false, False},
		{"port == 81", "pid in [6]", nil, false, False},
		{`process == "a"`, "pid in [6]", []collectors.Owner{a, b}, false, True}, // for the first owner, as the engine asks
	} {
		p, err := NewSelection(Selection{Name: "list", Text: test.text, Owner: test.owner, Mode: ModeObserve})
		if err != nil {
			t.Fatal(err)
		}
		s := &collectors.Socket{Protocol: collectors.TCP, State: collectors.Established, LocalPort: 80, Inode: 1}
		s.Known = collectors.Fields(collectors.FieldPort, collectors.FieldState, collectors.FieldProtocol)
		f := &collectors.Facts{Owners: test.owners, OthersHidden: test.hidden, Complete: true}
		var first *collectors.Owner
		if len(test.owners) > 0 {
			first = &test.owners[0]
		}
		r := collectors.NewRecord(s, nil, f, first, "")
		if got := p.Rules[0].When.Eval(&r); got != test.want {
			t.Errorf("%s, one of the owners %s: %s, not %s", test.text, test.owner, got, test.want)
		}
		if !p.Reads.Has(collectors.FieldPID) && !p.Reads.Has(collectors.FieldProcess) {
			t.Error("owners are not looked up")
		}
		// Until the owners are known it may hold.
		r = collectors.NewRecord(s, nil, nil, nil, "")
		if hits := p.NewEvaluator().Match(&r); (len(hits) == 1) != (test.text != "port == 81") {
			t.Errorf("%s before owners are known: %v", test.text, hits)
		}
	}
	if _, err := NewSelection(Selection{Name: "list", Text: "true", Owner: "pid in"}); err == nil {
		t.Error("a broken condition for owners is taken")
	}
	one, _ := NewSelection(Selection{Text: "true", Owner: "pid in [5]"})
	two, _ := NewSelection(Selection{Text: "true", Owner: "pid in [6]"})
	if one.Generation == two.Generation {
		t.Error("the same generation for two processes")
	}
}
