package ruletest

import (
	"context"
	"errors"

	"sockwarden/rules"
)

// Result is what came of all tests.
type Result struct {
	Files    []*FileResult
	Passed   int
	Failed   int
	Coverage *Coverage // nil if nobody asked
}

// FileResult is what came of the tests of one file.
type FileResult struct {
	Path  string
	Tests []*TestResult
}

// TestResult is what came of one test. It passed if there are no failures.
type TestResult struct {
	Name     string
	Line     int
	Failures []Failure
}

// Failure is one thing that was expected and did not come.
type Failure struct {
	Line int // of what was expected
	// Step numbers the step from 1, 0 in a test of one step; After is how long the test had
	// gone on by then.
	Step  int
	After string
	// Socket is the name of the socket, "" if it is about the test.
	Socket        string
	Expected, Got string
	// Why is the first part of a condition that is not true, or what spares the socket;
	// "" if there is no more to say.
	Why string
}

// Run reads all test files, and runs their tests. The error is rules.Problems, of all files,
// if one is wrong: then no test has run.
func Run(ctx context.Context, o Options) (*Result, error) {
	paths, err := find(o.Paths)
	if err != nil {
		return nil, err
	}
	var files []*file
	var wrong []rules.Problems
	for _, path := range paths {
		parsed, err := readFile(path, Words(o.Actions))
		var f *file
		if err == nil {
			f, err = o.open(parsed)
		}
		if problems, ok := errors.AsType[rules.Problems](err); ok {
			wrong = append(wrong, problems)
			continue
		}
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	if len(wrong) > 0 {
		return nil, rules.Join(wrong...)
	}
	out := &Result{}
	if o.Coverage {
		out.Coverage = newCoverage()
	}
	for _, f := range files {
		r := &FileResult{Path: f.Path}
		for i, t := range f.Tests {
			if o.Run != nil && !o.Run.MatchString(t.Name) {
				continue
			}
			one, err := f.run(ctx, i, out.Coverage)
			if err != nil {
				return nil, err
			}
			if len(one.Failures) > 0 {
				out.Failed++
			} else {
				out.Passed++
			}
			r.Tests = append(r.Tests, one)
		}
		if len(r.Tests) > 0 {
			out.Files = append(out.Files, r)
		}
	}
	return out, nil
}
