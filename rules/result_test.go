package rules

import "testing"

// TestResult: the outcome of a rung is a name in the rungs after it.
func TestResult(t *testing.T) {
	p := mustLoad(t, `
version: 1
rules:
  - name: ladder
    when: owned
    then: [destroy, {signal: TERM, wait: 10s, if: result == "refused" and known(process)}, {signal: KILL}]
`)
	rungs := p.Rules[0].Then
	if rungs[0].ReadsResult() || !rungs[1].ReadsResult() || rungs[2].ReadsResult() {
		t.Error("the wrong rung reads the result")
	}
	r := leak()
	for result, want := range map[string]Tri{"refused": True, "gone": False, "": Unknown} {
		r.Result = result
		if got := rungs[1].If.Eval(r); got != want {
			t.Errorf("after %q the condition is %v, want %v", result, got, want)
		}
	}
	checkLines(t, problems(t, "version: 1\nrules:\n  - {name: r, when: result == \"gone\", then: [{destroy: , if: result == \"gone\"}]}\n"),
		`3:21: unknown name "result": it is the result of the rung before, and belongs in the if of the next one`, `3:62: unknown name "result": it is the result of the rung before, and belongs in the if of the next one`)
}
