package lang

import (
	"strings"
	"testing"

	"sockwarden/collectors"
	"sockwarden/rules/lang/langtest"
)

// A written-out condition needs no names, and says the same.
func TestWriteOut(t *testing.T) {
	sets := scopeOf(t, langtest.Definitions).Sets
	many := &SetBuilder{}
	for i := range 10_000 {
		many.ranges = append(many.ranges, Range{Low: float64(3 * i), High: float64(3 * i)})
	}
	sets["many"] = many.Set()
	for text, want := range map[string]string{
		"port == 80":       "port == 80",
		"port in rustdesk": "port in [21115..21119]",
		"not (port in rustdesk) or state == \"x\"":                  "",
		`process == "rustdesk" and port in rustdesk /* rustdesk */`: `process == "rustdesk" and port in [21115..21119] /* rustdesk */`,
		`port in rustdesk and remote_port in rustdesk`:              `port in [21115..21119] and remote_port in [21115..21119]`,
		"port in many": "",
		"port in no":   "",
	} {
		got, errs := WriteOut(text, &Scope{Sets: sets})
		if got != want || (len(errs) == 0) != (want != "") {
			t.Errorf("%s: %q, %v", text, got, errs)
		}
		if want == "" {
			continue
		}
		with, _ := Compile(text, &Scope{Sets: sets})
		without, errs := Compile(got, &Scope{})
		if len(errs) > 0 {
			t.Fatal(errs)
		}
		for _, port := range []uint16{80, 21114, 21115, 21119, 21120} {
			s := collectors.Socket{LocalPort: port, RemotePort: 21116, Known: collectors.Fields(collectors.FieldPort, collectors.FieldRemotePort)}
			r := collectors.NewRecord(&s, nil, nil, nil, "")
			if with.Eval(&r) != without.Eval(&r) {
				t.Errorf("%s: not the same of port %d", text, port)
			}
		}
	}
	macros := &Scope{Macros: map[string]string{"old": "age > 60 /* long ago */", "hung": `old and state == "CLOSE_WAIT"`}}
	if got, errs := WriteOut("hung or port == 80", macros); got != "((age > 60 /* long ago */) and state == \"CLOSE_WAIT\") or port == 80" {
		t.Errorf("%s, %v", got, errs)
	}
	if _, errs := WriteOut("port in many", &Scope{Sets: sets}); len(errs) != 1 || !strings.Contains(errs[0].Message, `with "many" it is too large`) {
		t.Errorf("%v", errs)
	}
}
