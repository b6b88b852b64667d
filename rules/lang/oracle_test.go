package lang

import (
	"net/netip"
	"testing"

	"github.com/expr-lang/expr"
	"github.com/expr-lang/expr/vm"

	"sockwarden/collectors"
	"sockwarden/rules/lang/langtest"
)

// oracle is what expr's own machine sees of a record.
func oracle(r *collectors.Record) map[string]any {
	env := map[string]any{
		"limit": 60, "ratio": 0.5, "negative": -5, "yes_var": true, "no_var": false, "server": "hbbs",
		"timeouts": map[string]float64{"hbbs": 30, "nginx": 60}, "words": map[string]string{"hbbs": "relay", "nginx": "web"},
	}
	for f := range langtest.AllFields().Each {
		v, _ := collectors.Value(f, r)
		if n, isNum := v.(float64); isNum && (f.Doc().Type == collectors.TypePort || f == collectors.FieldUID) {
			v = int(n)
		}
		env[f.String()] = v
	}
	return env
}

// plainly compiles the plain half of an expression with expr itself.
func plainly(t *testing.T, text string, env map[string]any) *vm.Program {
	t.Helper()
	ip := func(v any) netip.Addr {
		if s, ok := v.(string); ok {
			return netip.MustParseAddr(s).Unmap()
		}
		return v.(netip.Addr).Unmap()
	}
	p, err := expr.Compile(text, expr.Env(env), expr.AsBool(),
		expr.Function("inside", func(args ...any) (any, error) {
			// No prefix of IPv6 contains an IPv4 address, except those of mapped ones,
			// which are prefixes of IPv4.
			return mapped(netip.MustParsePrefix(args[1].(string))).Contains(ip(args[0])), nil
		}, new(func(netip.Addr, string) bool)),
		expr.Function("same", func(args ...any) (any, error) { return ip(args[0]) == ip(args[1]), nil }, new(func(netip.Addr, string) bool)),
		expr.Function("equal", func(args ...any) (any, error) { return ip(args[0]) == ip(args[1]), nil }, new(func(netip.Addr, netip.Addr) bool)))
	if err != nil {
		t.Fatalf("expr does not take %s: %v", text, err)
	}
	return p
}

func mapped(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

// TestOracle: for fully known records, random conditions say what expr's own machine
// says.
func TestOracle(t *testing.T) {
	sc := scopeOf(t, langtest.RandomDefinitions)
	var counts [3]int
	for seed := range langtest.Rounds(6000) {
		w := langtest.NewWriter(uint64(seed), 1)
		text := w.Condition(3)
		records := []*collectors.Record{langtest.RandomRecord(w), langtest.RandomRecord(w), langtest.RandomRecord(w), langtest.RandomRecord(w)}
		cond := compiled(t, sc, text.Rules)
		plain := plainly(t, text.Plain, oracle(records[0]))
		for _, r := range records {
			want, err := vm.Run(plain, oracle(r))
			if err != nil {
				t.Fatalf("seed %d: %s: %v", seed, text.Plain, err)
			}
			got := cond.Eval(r)
			if got != triOf(want.(bool)) {
				t.Fatalf("seed %d:\n%s\nis %v, but expr says %v of\n%s\nrecord %v", seed, text.Rules, got, want, text.Plain, collectors.Map(r))
			}
			counts[got]++
		}
	}
	if enough := langtest.Rounds(2000); counts[True] < enough || counts[False] < enough {
		t.Errorf("%d true and %d false: the conditions decide nothing", counts[True], counts[False])
	}
}

// TestOracleOfEachField: for every field, conditions about it alone say what expr's own
// machine says, true of some records and false of others.
func TestOracleOfEachField(t *testing.T) {
	sc := scopeOf(t, langtest.RandomDefinitions)
	for _, d := range collectors.AllFields() {
		var counts [3]int
		for seed := range uint64(60) {
			w := langtest.NewWriter(seed, 100+uint64(d.Field))
			text := w.About(d.Field)
			cond := compiled(t, sc, text.Rules)
			if cond.Reads != collectors.Fields(d.Field) {
				t.Fatalf("%s reads %b", text.Rules, cond.Reads)
			}
			records := []*collectors.Record{langtest.RandomRecord(w), langtest.RandomRecord(w), langtest.RandomRecord(w)}
			plain := plainly(t, text.Plain, oracle(records[0]))
			for _, r := range records {
				want, err := vm.Run(plain, oracle(r))
				if err != nil {
					t.Fatalf("%s: %v", text.Plain, err)
				}
				got := cond.Eval(r)
				if got != triOf(want.(bool)) {
					t.Fatalf("%s is %v, but expr says %v of\n%s\nrecord %v", text.Rules, got, want, text.Plain, collectors.Map(r))
				}
				counts[got]++
				r.Known.Remove(collectors.Fields(d.Field))
				if d.Field != collectors.FieldState && d.Field != collectors.FieldAge && cond.Eval(r) != Unknown {
					t.Fatalf("without %s: %s is %v", d.Name, text.Rules, cond.Eval(r))
				}
			}
		}
		if counts[True] < 10 || counts[False] < 10 {
			t.Errorf("%s: %d true and %d false: nothing was tested", d.Name, counts[True], counts[False])
		}
	}
}

// TestSound: what a condition says of a partly known record, it says of every record that
// agrees with the known part.
func TestSound(t *testing.T) {
	sc := scopeOf(t, langtest.RandomDefinitions)
	var counts [3]int
	for seed := range langtest.Rounds(8000) {
		w := langtest.NewWriter(uint64(seed), 2)
		text := w.Condition(3).Rules
		cond := compiled(t, sc, text)
		keepMax := cond.Reads.Has(collectors.FieldAgeMax)
		r := langtest.RandomRecord(w)
		langtest.Hide(w, r)
		got := cond.Eval(r)
		counts[got]++
		if got == Unknown {
			continue
		}
		for range 8 {
			c := langtest.Complete(w, r, keepMax)
			if full := cond.Eval(c); full != got {
				t.Fatalf("seed %d: %s\nis %v of %v,\nbut %v of %v", seed, text, got, collectors.Map(r), full, collectors.Map(c))
			}
		}
		r.Facts.Complete = true
		if looked := cond.Eval(r); looked != got {
			t.Fatalf("seed %d: %s\nis %v of %v,\nbut %v once everything was looked for", seed, text, got, collectors.Map(r), looked)
		}
	}
	if min(counts[True], counts[False], counts[Unknown]) < langtest.Rounds(1000) {
		t.Errorf("%d true, %d false, %d unknown: nothing was tested", counts[True], counts[False], counts[Unknown])
	}
}

// TestKnownNever: nothing is unknown about a fully known record.
func TestKnownNever(t *testing.T) {
	sc := scopeOf(t, langtest.RandomDefinitions)
	for seed := range langtest.Rounds(2000) {
		w := langtest.NewWriter(uint64(seed), 3)
		text := w.Condition(4).Rules
		if got := eval(t, sc, text, langtest.RandomRecord(w)); got == Unknown {
			t.Fatalf("seed %d: %s is unknown", seed, text)
		}
	}
}
