package lang

import (
	"testing"

	"sockwarden/rules/lang/langtest"
)

// example is the condition at the beginning of the documentation.
const example = `state == "CLOSE_WAIT" && age > 60 && port in rustdesk`

func BenchmarkCompile(b *testing.B) {
	sc := &Scope{Sets: map[string]*Set{"rustdesk": setOf(b, false, "21115-21119")}}
	b.ReportAllocs()
	for b.Loop() {
		if c, errs := Compile(example, sc); c == nil {
			b.Fatal(errs)
		}
	}
}

// BenchmarkCond evaluates one condition on a record for which it is true.
func BenchmarkCond(b *testing.B) {
	sc := scopeOf(b, langtest.Definitions)
	for name, text := range map[string]string{
		"example": example, "macro": "both", "cidr": "remote_addr in peers", "names": "process in names", "lookup": "age > lookup(timeouts, process, 60)",
		"regexp": `process matches "^hbb"`,
	} {
		c := compiled(b, sc, text)
		b.Run(name, func(b *testing.B) {
			r := langtest.Leak()
			b.ReportAllocs()
			for b.Loop() {
				if c.Eval(r) != True {
					b.Fatal("not true")
				}
			}
		})
	}
}
