package actions

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"sockwarden/collectors"
)

func TestOutcomeOf(t *testing.T) {
	other := errors.New("other")
	for _, c := range []struct {
		err              error
		want             Result
		keeps, ends, ups bool
	}{
		{collectors.ErrGone, Changed, false, false, false},
		{collectors.ErrNotPermitted, NotPermitted, true, true, false},
		{collectors.ErrNotSupported, Unsupported, true, true, false},
		{other, Failed, true, false, true},
	} {
		out := OutcomeOf(fmt.Errorf("do: %w", c.err))
		if out.Result != c.want || (out.Err != nil) != c.keeps || c.keeps && !errors.Is(out.Err, c.err) {
			t.Errorf("%v: %+v", c.err, out)
		}
		if alone := OutcomeOf(&TargetError{fmt.Errorf("do: %w", c.err)}); alone.EndsAll() || alone.Result != c.want || c.keeps && !errors.Is(alone.Err, c.err) {
			t.Errorf("%v of one target: %+v", c.err, alone)
		}
		if out.EndsAll() != c.ends || out.Result.EndsAll() != c.ends || out.Result.Climbs() != c.ups || out.Result.Succeeded() {
			t.Errorf("%s ends all: %t, climbs: %t, succeeded: %t", out.Result, out.Result.EndsAll(), out.Result.Climbs(), out.Result.Succeeded())
		}
	}
}

// Each result falls into at most one category.
func TestResults(t *testing.T) {
	want := map[Result]string{
		Would: "", Gone: "succeeded", FDStillHeld: "succeeded", Ended: "succeeded", StillRunning: "climbs", Done: "succeeded",
		Changed: "", Refused: "climbs", Unsupported: "ends", NotPermitted: "ends", Failed: "climbs",
	}
	for r, w := range want {
		is := ""
		if r.Succeeded() {
			is += "succeeded"
		}
		if r.Climbs() {
			is += "climbs"
		}
		if r.EndsAll() {
			is += "ends"
		}
		if is != w {
			t.Errorf("%s: %q, not %q", r, is, w)
		}
	}
}

func TestRegistry(t *testing.T) {
	make := func(map[string]any) (Action, error) { return nil, errors.New("not made") }
	a, b := Plugin{Name: "a", New: make}, Plugin{Name: "b", New: make}
	for name, plugins := range map[string][]Plugin{"no name": {a, {New: make}}, "no New": {{Name: "c"}}, "twice": {a, b, a}} {
		if r, err := NewRegistry(plugins...); err == nil || r != nil {
			t.Errorf("%s: accepted", name)
		}
	}
	r, err := NewRegistry(b, a)
	if err != nil {
		t.Fatal(err)
	}
	if p, err := r.Get("a"); err != nil || p.Name != "a" {
		t.Errorf("a: %+v, %v", p, err)
	}
	if _, err := r.Get("c"); err == nil || !strings.Contains(err.Error(), `"c" (known: b, a)`) {
		t.Errorf("c: %v", err)
	}
	all := r.All()
	all[0].Name = "changed"
	if all := r.All(); len(all) != 2 || all[0].Name != "b" || all[1].Name != "a" {
		t.Errorf("all: %+v", all)
	}
}

// Only known facts are logged.
func TestAttrs(t *testing.T) {
	bare := Sealed{Namespace: collectors.Namespace{Name: "host"}}
	full := bare
	full.Namespace.Name = "blue"
	full.Facts.Age = collectors.Age{Min: 61.25, Source: collectors.AgeTCPInfo}
	full.Facts.Owners = []collectors.Owner{{PID: 7, Name: "web"}, {PID: 8, Name: "web"}}
	waiting := bare
	waiting.Facts.ListenerOwner, waiting.Facts.Known = &collectors.Owner{PID: 9, Name: "server"}, collectors.Fields(collectors.FieldListenerProcess)
	for want, s := range map[string]*Sealed{
		"state port peer": &bare,
		"state port peer process pid holders=web[7], web[8] netns age=61.2s age_source": &full,
		"state port peer listener_process=server":                                       &waiting,
	} {
		var got []string
		for _, a := range Attrs(s) {
			if a.Key == "age" || a.Key == "listener_process" || a.Key == "holders" {
				a.Key += "=" + a.Value.String()
			}
			got = append(got, a.Key)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%v, not %s", got, want)
		}
	}
}
