package view

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"

	"sockwarden/engine/ruletest"
)

// testsDoc is the JSON of what came of tests.
func testsDoc(r *ruletest.Result) map[string]any {
	files := []map[string]any{}
	for _, f := range r.Files {
		tests := []map[string]any{}
		for _, t := range f.Tests {
			failures := []map[string]any{}
			for i := range t.Failures {
				x := &t.Failures[i]
				failures = append(failures, map[string]any{
					"line": x.Line, "step": x.Step, "after": x.After, "socket": x.Socket, "expected": x.Expected, "got": x.Got, "why": x.Why,
				})
			}
			tests = append(tests, map[string]any{"name": t.Name, "line": t.Line, "passed": len(failures) == 0, "failures": failures})
		}
		files = append(files, map[string]any{"file": f.Path, "tests": tests})
	}
	doc := map[string]any{"passed": r.Passed, "failed": r.Failed, "files": files}
	if r.Coverage != nil {
		doc["coverage"] = coverageDoc(r.Coverage)
	}
	return doc
}

func coverageDoc(c *ruletest.Coverage) map[string]any {
	number := func(n ruletest.Numbers) map[string]int { return map[string]int{"tried": n.Tried, "all": n.All} }
	all, rungs, parts := c.Tried()
	list := []map[string]any{}
	for _, r := range c.Rules {
		ladder, conditions := []map[string]any{}, []map[string]any{}
		for _, rung := range r.Rungs {
			ladder = append(ladder, map[string]any{"action": rung.Text, "reached": rung.Done})
		}
		for _, p := range r.Parts {
			if !p.Fixed {
				conditions = append(conditions, map[string]any{"key": p.Key, "text": oneLine(p.Text), "true": p.True, "false": p.False})
			}
		}
		list = append(list, map[string]any{"rule": r.Name, "file": r.File, "line": r.Line, "taken": r.Taken, "rungs": ladder, "parts": conditions})
	}
	return map[string]any{"rules": number(all), "rungs": number(rungs), "parts": number(parts), "by_rule": list}
}

// The elements of JUnit's reports that CI systems read.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		File    string        `xml:"file,attr"`
		Line    int           `xml:"line,attr"`
		Failure *junitFailure `xml:"failure"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// junit writes a report for CI systems.
func junit(o Out, r *ruletest.Result) error {
	doc := junitSuites{Tests: r.Passed + r.Failed, Failures: r.Failed}
	for _, f := range r.Files {
		suite := junitSuite{Name: f.Path, Tests: len(f.Tests)}
		for _, t := range f.Tests {
			c := junitCase{Name: Printable(t.Name), Class: f.Path, File: f.Path, Line: t.Line}
			if len(t.Failures) > 0 {
				suite.Failures++
				c.Failure = junitFailureOf(t)
			}
			suite.Cases = append(suite.Cases, c)
		}
		doc.Suites = append(doc.Suites, suite)
	}
	if _, err := io.WriteString(o.W, xml.Header); err != nil {
		return err //nolint:wrapcheck // an error of the stream
	}
	e := xml.NewEncoder(o.W)
	e.Indent("", "  ")
	if err := e.Encode(doc); err != nil {
		return err //nolint:wrapcheck // an error of the stream
	}
	_, err := io.WriteString(o.W, "\n")
	return err //nolint:wrapcheck // an error of the stream
}

func junitFailureOf(t *ruletest.TestResult) *junitFailure {
	var lines []string
	for i := range t.Failures {
		x := &t.Failures[i]
		line := fmt.Sprintf("line %d: socket %s: expected %s, got %s", x.Line, Printable(x.Socket), Printable(x.Expected), Printable(x.Got))
		if x.Step > 0 {
			line = fmt.Sprintf("step %d, after %s: %s", x.Step, x.After, line)
		}
		if x.Why != "" {
			line += " because " + Printable(x.Why)
		}
		lines = append(lines, line)
	}
	return &junitFailure{Message: lines[0], Text: strings.Join(lines, "\n")}
}
