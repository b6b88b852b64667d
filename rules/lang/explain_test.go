package lang

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"sockwarden/collectors"
	"sockwarden/rules/lang/langtest"
)

var ops = []Op{OpAnd, OpOr, OpNot, OpCompare, OpIn, OpMatches, OpCall, OpMacro, OpField, OpConstant}

// each calls visit for a part and every part below it.
func each(p *Part, visit func(*Part)) {
	visit(p)
	for i := range p.Parts {
		each(&p.Parts[i], visit)
	}
}

// TestExplainAgrees: for random conditions and records, known and half known, the tree
// says what the condition says, and each part what its text says when compiled alone.
func TestExplainAgrees(t *testing.T) {
	sc := scopeOf(t, langtest.RandomDefinitions)
	seen, values := map[Op]int{}, map[Tri]int{}
	alone := map[string]*Condition{}
	for seed := range langtest.Rounds(3000) {
		w := langtest.NewWriter(uint64(seed), 11)
		c := compiled(t, sc, w.Condition(4).Rules)
		r := langtest.RandomRecord(w)
		if seed%4 != 0 {
			langtest.Hide(w, r)
		}
		tree := c.Explain(r)
		if got := c.Eval(r); tree.Value != got {
			t.Fatalf("seed %d: %s\nis %v, its tree %v", seed, c.Text, got, tree.Value)
		}
		read := map[string]bool{}
		alike := c.Values(r, nil)
		each(&tree, func(p *Part) {
			if alike[0] != p.Value {
				t.Fatalf("seed %d: %s has the part %s, which is %v, among the values %v", seed, c.Text, p.Text, p.Value, alike[0])
			}
			alike = alike[1:]
			seen[p.Op]++
			values[p.Value]++
			if alone[p.Text] == nil {
				alone[p.Text] = compiled(t, sc, p.Text)
			}
			if got := alone[p.Text].Eval(r); got != p.Value {
				t.Fatalf("seed %d: %s\nhas the part %s, which is %v, alone %v", seed, c.Text, p.Text, p.Value, got)
			}
			checkPart(t, sc, c, p, r)
			for _, name := range p.Names {
				read[name] = true
			}
		})
		for f := range c.Reads.Each {
			if !read[f.String()] {
				t.Fatalf("%s: no part reads %s", c.Text, f)
			}
		}
	}
	for _, op := range ops {
		if seen[op] < langtest.Rounds(100) {
			t.Errorf("%d parts are %s: they test nothing", seen[op], op)
		}
	}
	if len(seen) != len(ops) || min(values[True], values[False], values[Unknown]) < langtest.Rounds(1000) {
		t.Errorf("operators %v, values %v", seen, values)
	}
}

// checkPart checks where a part stands, and the values it reports to have read.
func checkPart(t *testing.T, sc *Scope, c *Condition, p *Part, r *collectors.Record) {
	t.Helper()
	text := c.Text
	if p.Macro != "" {
		text = sc.Macros[p.Macro]
	}
	if got := string([]rune(text)[p.From:p.To]); got != p.Text {
		t.Fatalf("%s: at %d to %d stands %s, not %s", text, p.From, p.To, got, p.Text)
	}
	if p.Op == OpMacro && (p.Text != p.Name || len(p.Parts) != 1 || p.Parts[0].Macro != p.Name) {
		t.Fatalf("macro %+v", p)
	}
	for _, name := range p.Names {
		v, known := collectors.Value(fieldNamed(t, name), r)
		said, ok := p.Reads[name]
		if why := p.Unknown[name]; ok != known || said != v || (why == "") != known {
			t.Fatalf("%s reads %s as %v, unknown %q; it is %v", p.Text, name, said, why, v)
		}
	}
	if len(p.Reads)+len(p.Unknown) != len(p.Names) {
		t.Fatalf("%s reads %v and %v, names %v", p.Text, p.Reads, p.Unknown, p.Names)
	}
}

func fieldNamed(t testing.TB, name string) collectors.Field {
	t.Helper()
	f, ok := collectors.FieldByName(name)
	if !ok {
		t.Fatalf("no field %s", name)
	}
	return f
}

// outline writes a tree, one part per line.
func outline(p *Part) []string {
	line := fmt.Sprintf("%s %s: %s", p.Value, p.Op, p.Text)
	for _, name := range slices.Sorted(maps.Keys(p.Reads)) {
		line += fmt.Sprintf(" %s=%v", name, p.Reads[name])
	}
	for _, name := range slices.Sorted(maps.Keys(p.Unknown)) {
		line += " no " + name
	}
	lines := []string{line}
	for i := range p.Parts {
		for _, below := range outline(&p.Parts[i]) {
			lines = append(lines, "  "+below)
		}
	}
	return lines
}

func TestExplain(t *testing.T) {
	sc := scopeOf(t, langtest.Definitions)
	r := langtest.Without(collectors.FieldProcess, collectors.FieldAgeMax)
	for text, want := range map[string]string{
		`  owned `: `true field: owned owned=true`,
		`(owned)`:  `true field: owned owned=true`,
		`( port in [80, (21117)] /* ) */ ) or (not ( orphan ))`: `
			true or: ( port in [80, (21117)] /* ) */ ) or (not ( orphan )) orphan=false port=21117
			  true in: port in [80, (21117)] port=21117
			  true not: not ( orphan ) orphan=false
			    false field: orphan orphan=false`,
		`port == 80 and process not in ["a)", "b"]`: `
			false and: port == 80 and process not in ["a)", "b"] port=21117 no process
			  false compare: port == 80 port=21117
			  unknown in: process not in ["a)", "b"] no process`,
		`80 < port < (30000)`: `
			true and: 80 < port < (30000) port=21117
			  true compare: 80 < port port=21117
			  true compare: port < (30000) port=21117`,
		`both or third`: `
			true or: both or third age=61.5 age_source=observed port=21117 remote_addr=203.0.113.9 state=CLOSE_WAIT no age_max
			  true macro: both age=61.5 age_source=observed port=21117 state=CLOSE_WAIT no age_max
			    true and: hung and local age=61.5 age_source=observed port=21117 state=CLOSE_WAIT no age_max
			      true macro: hung age=61.5 age_source=observed state=CLOSE_WAIT no age_max
			        true and: state == "CLOSE_WAIT" and age > close_wait_timeout age=61.5 age_source=observed state=CLOSE_WAIT no age_max
			          true compare: state == "CLOSE_WAIT" state=CLOSE_WAIT
			          true compare: age > close_wait_timeout age=61.5 age_source=observed no age_max
			      true macro: local port=21117
			        true in: port in rustdesk port=21117
			  true macro: third remote_addr=203.0.113.9
			    true in: remote_addr in peers remote_addr=203.0.113.9`,
		`loud and who == "x" or quiet`: `
			true or: loud and who == "x" or quiet no process
			  false and: loud and who == "x" no process
			    false constant: loud
			    unknown compare: who == "x" no process
			  true constant: quiet`,
		`known(process) == (user matches "^r")`: `
			false compare: known(process) == (user matches "^r") user=rustdesk no process
			  false call: known(process) no process
			  true matches: user matches "^r" user=rustdesk`,
		`lookup(timeouts, user, 60) * (2) == 120 && folded`: `
			true and: lookup(timeouts, user, 60) * (2) == 120 && folded port=21117 user=rustdesk
			  true compare: lookup(timeouts, user, 60) * (2) == 120 user=rustdesk
			  true macro: folded port=21117
			    true or: include_ports == [] or port in include_ports port=21117
			      true compare: include_ports == []
			      false in: port in include_ports port=21117`,
	} {
		tree := compiled(t, sc, text).Explain(r)
		got := strings.Join(outline(&tree), "\n")
		want = strings.ReplaceAll(strings.TrimSpace(want), "\n\t\t\t", "\n")
		if got != want {
			t.Errorf("%s:\n%s\nwant\n%s", text, got, want)
		}
	}
}

// TestExplainGroup: the values of a group have names like fields; an inexact bound says
// that it is one.
func TestExplainGroup(t *testing.T) {
	sc := scopeOf(t, langtest.Definitions)
	sc.Group = true
	c := compiled(t, sc, `count > 3 and (max_age > "1m" or fds * 10 > fd_limit)`)
	r := collectors.Record{Group: &collectors.Group{Count: 3, Uncertain: 2, Age: collectors.Age{Min: 70, Max: 70, Bounded: true}, FDs: 50, FDLimit: -1}}
	tree := c.Explain(&r)
	want := []string{
		`unknown and: count > 3 and (max_age > "1m" or fds * 10 > fd_limit) count=3 fds=50 max_age=70 no count no fd_limit`,
		`  unknown compare: count > 3 count=3 no count`,
		`  true or: max_age > "1m" or fds * 10 > fd_limit fds=50 max_age=70 no fd_limit`,
		`    true compare: max_age > "1m" max_age=70`,
		`    unknown compare: fds * 10 > fd_limit fds=50 no fd_limit`,
	}
	if got := outline(&tree); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !c.OfProcess() || c.ReadsResult() {
		t.Errorf("of a process %t, result %t", c.OfProcess(), c.ReadsResult())
	}
	tree = c.Explain(&collectors.Record{})
	if len(tree.Reads) != 0 || len(tree.Unknown) != 4 || tree.Value != Unknown {
		t.Errorf("without a group: %+v", tree)
	}
}

func TestExplainResult(t *testing.T) {
	c := compiled(t, &Scope{Result: true}, `result == "refused" or owned`)
	r := langtest.Leak()
	r.Result = "gone"
	if got := c.Explain(r); got.Reads["result"] != "gone" || got.Parts[0].Value != False || !c.ReadsResult() {
		t.Errorf("%+v", got)
	}
	r.Result = ""
	if got := c.Explain(r); got.Unknown["result"] != "no rung came before" || got.Parts[0].Value != Unknown || got.Value != True {
		t.Errorf("%+v", got)
	}
}

// TestExplainOneOwner: the condition that one owner must meet is one part.
func TestExplainOneOwner(t *testing.T) {
	r := langtest.Leak()
	r.Facts.Owners = append(r.Facts.Owners, collectors.Owner{PID: 5, Known: r.Known, Name: "nginx"})
	c := compiled(t, &Scope{}, "owned").AndOfOneOwner(compiled(t, &Scope{}, `process == "nginx" and pid == 5`))
	tree := c.Explain(r)
	if tree.Value != True || c.Eval(r) != True || tree.Text != `(owned) and (process == "nginx" and pid == 5)` {
		t.Errorf("%v, tree %+v", c.Eval(r), tree)
	}
	if len(tree.Parts) != 2 || tree.Parts[1].Value != True || len(tree.Parts[1].Parts) != 0 || fmt.Sprint(tree.Names) != "[owned pid process]" {
		t.Errorf("%+v", tree)
	}
}

// TestTree: without a record the parts are the same, but nothing has a value.
func TestTree(t *testing.T) {
	c := compiled(t, scopeOf(t, langtest.Definitions), "both and not orphan")
	whole, bare := c.Explain(langtest.Leak()), c.Tree()
	var texts, again []string
	each(&whole, func(p *Part) { texts = append(texts, p.Text) })
	each(&bare, func(p *Part) {
		again = append(again, p.Text)
		if p.Value != Unknown || p.Reads != nil || p.Unknown != nil {
			t.Errorf("%s has %v, %v", p.Text, p.Value, p.Reads)
		}
	})
	if !slices.Equal(texts, again) || len(texts) != 11 {
		t.Errorf("%q and %q", texts, again)
	}
}

// BenchmarkExplain explains the example of the documentation.
func BenchmarkExplain(b *testing.B) {
	c, r := compiled(b, scopeOf(b, langtest.Definitions), example), langtest.Leak()
	b.ReportAllocs()
	for b.Loop() {
		c.Explain(r)
	}
}
