package lang

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"
	"golang.org/x/sys/unix"

	"sockwarden/collectors"
)

// scopeOf returns the names that the text of a file defines, which must be good. It reads
// no more YAML than the tests write.
func scopeOf(t testing.TB, text string) *Scope {
	t.Helper()
	var file struct {
		Vars   map[string]yaml.Node
		Sets   map[string]yaml.Node
		Macros map[string]string
	}
	if err := yaml.Load([]byte(text), &file); err != nil && strings.TrimSpace(text) != "" {
		t.Fatal(err)
	}
	ports := setOf(t, false, "21115-21119")
	sc := &Scope{Vars: map[string]*Value{}, Sets: map[string]*Set{"rustdesk": ports}, Macros: file.Macros, Broken: map[string]bool{}}
	for name, n := range file.Vars {
		sc.Vars[name] = valueOf(t, &n)
	}
	for name, n := range file.Sets {
		sc.Sets[name] = setOf(t, false, elements(&n)...)
	}
	sc.CheckMacros(func(string) bool { return false }, func(name string, errs []Error) {
		if len(errs) > 0 {
			t.Fatalf("macro %s: %v", name, errs)
		}
	})
	return sc
}

func elements(n *yaml.Node) (texts []string) {
	for _, e := range n.Content {
		texts = append(texts, e.Value)
	}
	return texts
}

func setOf(t testing.TB, asNames bool, elements ...string) *Set {
	t.Helper()
	var b SetBuilder
	for _, e := range elements {
		if err := b.Add(e, asNames); err != nil {
			t.Fatal(err)
		}
	}
	return b.Set()
}

func valueOf(t testing.TB, n *yaml.Node) *Value {
	t.Helper()
	number, err := strconv.ParseFloat(n.Value, 64)
	switch {
	case n.Kind == yaml.SequenceNode:
		return &Value{Type: TypeList, List: setOf(t, false, elements(n)...)}
	case n.Kind == yaml.MappingNode && len(n.Content) > 0 && n.Content[0].Value == "value":
		if value := n.Content[1]; value.Kind == yaml.SequenceNode {
			return &Value{Type: TypeList, List: setOf(t, true, elements(value)...)}
		}
		return valueOf(t, n.Content[1])
	case n.Kind == yaml.MappingNode:
		v := &Value{Type: TypeMap, Map: map[string]Scalar{}}
		for i := 0; i < len(n.Content); i += 2 {
			s := Scalar{Text: n.Content[i+1].Value}
			if d, err := ParseDuration(s.Text); err == nil {
				s = Scalar{IsNumber: true, Number: d.Seconds()}
			}
			v.Map[n.Content[i].Value] = s
		}
		return v
	case n.Tag == "!!bool":
		return &Value{Type: TypeBool, Bool: strings.EqualFold(n.Value, "true")}
	case err == nil:
		return &Value{Type: TypeNumber, Number: number}
	}
	return &Value{Type: TypeString, Text: n.Value}
}

// eval compiles a condition in a scope, which must succeed, and asks it about r.
func eval(t testing.TB, sc *Scope, text string, r *collectors.Record) Tri {
	t.Helper()
	return compiled(t, sc, text).Eval(r)
}

func compiled(t testing.TB, sc *Scope, text string) *Condition {
	t.Helper()
	c, errs := Compile(text, sc)
	if c == nil {
		var lines []string
		for _, e := range errs {
			lines = append(lines, e.Message)
		}
		t.Fatalf("%s: %s", text, strings.Join(lines, "; "))
	}
	return c
}

// spent is the CPU time that this process has used so far. Unlike wall time it does not
// depend on what else the machine does.
func spent(t testing.TB) time.Duration {
	t.Helper()
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
