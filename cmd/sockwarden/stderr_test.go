package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestProgramsShowStderr checks that no test hides what a program says when it fails:
// whoever makes a command and does not hand it on gives its stderr a place, and no shell
// throws it away.
func TestProgramsShowStderr(t *testing.T) {
	hides := regexp.MustCompile(`2>+ ?/dev/null|>+ ?/dev/null 2>&1|&> ?/dev/null`)
	programs := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		isGo := strings.HasSuffix(path, ".go")
		isTest := strings.HasSuffix(path, "_test.go") || strings.Contains(path, "/socklab/") || strings.Contains(path, "/actiontest/")
		isScript := strings.Contains(path, "/testdata/script/") || strings.Contains(path, "/testdata/serial/") || strings.HasPrefix(path, root+"/.ci/")
		if !isTest && !isScript || path == filepath.Join(root, "cmd/sockwarden/stderr_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(string(text), "\n") {
			if hides.MatchString(line) {
				t.Errorf("%s:%d hides stderr: %s", path, i+1, strings.TrimSpace(line))
			}
		}
		if isGo {
			programs += checkStderr(t, path, text)
		}
		return nil
	})
	if err != nil || programs < 30 {
		t.Errorf("%d programs, %v", programs, err)
	}
}

// checkStderr returns how many commands the functions of a file make.
func checkStderr(t *testing.T, path string, text []byte) (programs int) {
	t.Helper()
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, path, text, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range file.Decls {
		f, ok := decl.(*ast.FuncDecl)
		if !ok {
			continue
		}
		made, shown := 0, 0
		ast.Inspect(f, func(n ast.Node) bool {
			if n, ok := n.(*ast.SelectorExpr); ok {
				from, _ := n.X.(*ast.Ident)
				switch {
				case from != nil && from.Name == "exec" && (n.Sel.Name == "Command" || n.Sel.Name == "CommandContext"):
					made++
				case n.Sel.Name == "CombinedOutput" || n.Sel.Name == "StderrPipe",
					n.Sel.Name == "Stderr" && (from == nil || from.Name != "os"): // set, or read from an ExitError
					shown++
				}
			}
			return true
		})
		programs += made
		if made > shown && !handsOn(f) {
			t.Errorf("%s: %s runs %d programs, and shows what %d of them say", files.Position(f.Pos()), f.Name.Name, made, shown)
		}
	}
	return programs
}

// handsOn reports whether a function returns its command, or gives it to startWarden,
// which reads its stderr.
func handsOn(f *ast.FuncDecl) (found bool) {
	if f.Type.Results != nil {
		for _, r := range f.Type.Results.List {
			pointer, _ := r.Type.(*ast.StarExpr)
			if pointer == nil {
				continue
			}
			to, _ := pointer.X.(*ast.SelectorExpr)
			found = found || to != nil && to.Sel.Name == "Cmd"
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			name, _ := call.Fun.(*ast.Ident)
			found = found || name != nil && name.Name == "startWarden"
		}
		return true
	})
	return found
}
