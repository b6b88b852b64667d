package view

import (
	"fmt"
	"strings"

	"sockwarden/engine/ruletest"
)

// Tests shows what came of tests of rules, as table, json or junit.
func Tests(o Out, format string, r *ruletest.Result) error {
	switch format {
	case string(JSON):
		return o.Encode(testsDoc(r))
	case "junit":
		return junit(o, r)
	}
	for _, f := range r.Files {
		for _, t := range f.Tests {
			if len(t.Failures) > 0 {
				failedTest(o, f, t)
			}
		}
	}
	for _, f := range r.Files {
		failed := 0
		for _, t := range f.Tests {
			if len(t.Failures) > 0 {
				failed++
			}
		}
		what := "ok    "
		if failed > 0 {
			what = "FAILED"
		}
		text := Count(len(f.Tests), "test")
		if failed > 0 {
			text = fmt.Sprintf("%d of %s", failed, text)
		}
		fmt.Fprintf(o.W, "%s  %s  %s\n", what, f.Path, text)
	}
	if r.Coverage != nil {
		covered(o, r.Coverage)
	}
	return nil
}

// failedTest shows one test that failed.
func failedTest(o Out, f *ruletest.FileResult, t *ruletest.TestResult) {
	fmt.Fprintf(o.W, "FAIL  %s:%d  %s\n", f.Path, t.Line, Printable(t.Name))
	for i := range t.Failures {
		x := &t.Failures[i]
		at := fmt.Sprintf("line %d", x.Line)
		if x.Step > 0 {
			at += fmt.Sprintf(", step %d, after %s", x.Step, x.After)
		}
		if x.Socket != "" {
			at = "socket " + Printable(x.Socket) + ", " + at
		}
		fmt.Fprintf(o.W, "  %s\n", at)
		hanging(o, "    expected  ", Printable(x.Expected))
		hanging(o, "    got       ", Printable(x.Got))
		if x.Why != "" {
			hanging(o, "    because   ", Printable(x.Why))
		}
	}
}

// covered shows what no test has tried.
func covered(o Out, c *ruletest.Coverage) {
	all, rungs, parts := c.Tried()
	fmt.Fprintf(o.W, "coverage: %s of rules, %s of rungs, %s of parts of conditions (true once, and false once)\n", tried(all), tried(rungs), tried(parts))
	for _, r := range c.Rules {
		var lines []string
		if !r.Taken {
			lines = append(lines, "takes no socket")
		}
		for i, rung := range r.Rungs {
			if !rung.Done {
				lines = append(lines, fmt.Sprintf("rung %d, %s: not reached", i+1, rung.Text))
			}
		}
		for _, part := range r.Parts {
			if !part.Fixed && (!part.True || !part.False) {
				lines = append(lines, fmt.Sprintf("%s, %s: %s", part.Key, oneLine(part.Text), never(part)))
			}
		}
		if len(lines) == 0 {
			continue
		}
		fmt.Fprintf(o.W, "%s:%d  %s\n", r.File, r.Line, Printable(r.Name))
		for _, line := range lines {
			hanging(o, "  ", Printable(line))
		}
	}
}

func tried(n ruletest.Numbers) string { return fmt.Sprintf("%d of %d", n.Tried, n.All) }

func never(p *ruletest.PartCoverage) string {
	var values []string
	if !p.True {
		values = append(values, "true")
	}
	if !p.False {
		values = append(values, "false")
	}
	return "never " + strings.Join(values, ", never ")
}
