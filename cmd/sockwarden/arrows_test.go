package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// theHost are the packages that reach the host; in the engine only world uses them.
var theHost = []string{
	"sockwarden/collectors/sockdiag", "sockwarden/collectors/procfs", "sockwarden/collectors/procnet", "sockwarden/collectors/netns", "sockwarden/collectors/cgroupfs", "sockwarden/collectors/localaddr", "sockwarden/collectors/bpf", "sockwarden/collectors/containers", "net",
}

// engineItself assembles the rooms; none of them knows it.
const engineItself = "sockwarden/engine"

// TestArrows checks the imports between the rooms.
func TestArrows(t *testing.T) {
	forbidden := map[string][]string{
		"collectors":       {"sockwarden/rules", "sockwarden/engine", "sockwarden/actions", "sockwarden/cmd"},
		"rules":            {"sockwarden/engine", "sockwarden/actions", "sockwarden/cmd"},
		"rules/lang":       {"sockwarden/rules"},
		"actions":          {"sockwarden/rules", "sockwarden/engine", "sockwarden/cmd"},
		"engine":           {"sockwarden/cmd"},
		"engine/world":     {"sockwarden/rules", "sockwarden/actions", "sockwarden/engine"},
		"engine/memory":    append(theHost, "sockwarden/rules", "sockwarden/actions", "sockwarden/engine/look"),
		"engine/look":      theHost,
		"engine/report":    append(theHost, "sockwarden/engine/memory", "sockwarden/engine/judge", "sockwarden/engine/act", "sockwarden/engine/news"),
		"engine/catalog":   append(theHost, "sockwarden/engine"),
		"engine/silence":   append(theHost, "sockwarden/actions", "sockwarden/engine/judge", "sockwarden/engine/act", "sockwarden/engine/news", "sockwarden/engine/report"),
		"engine/judge":     append(theHost, "sockwarden/engine/act", "sockwarden/engine/news"),
		"engine/explain":   append(theHost, "sockwarden/engine/act", "sockwarden/engine/news", "sockwarden/engine/watch", "sockwarden/engine/memory"),
		"engine/differ":    append(theHost, "sockwarden/engine/act", "sockwarden/engine/news", "sockwarden/engine/watch", "sockwarden/engine/memory"),
		"engine/act":       append(theHost, "sockwarden/engine/news"),
		"engine/news":      append(theHost, "sockwarden/engine/judge", "sockwarden/engine/act", "sockwarden/engine/look"),
		"engine/watch":     theHost,
		"engine/recording": append(theHost, "sockwarden/engine/judge", "sockwarden/engine/act", "sockwarden/engine/news", "sockwarden/engine/report"),
		"engine/scripted":  append(theHost, "sockwarden/rules"),
		"engine/ruletest":  append(theHost, "sockwarden/engine/watch", "sockwarden/engine/doctor", "sockwarden/engine/look", "sockwarden/engine/judge", "sockwarden/engine/act"),
		// It reads what the watcher shows, and never decides or acts.
		"cmd/sockwarden/control": append(theHost[:len(theHost)-1:len(theHost)-1], "sockwarden/cmd", "sockwarden/engine/judge", "sockwarden/engine/act", "github.com/spf13"),
		"cmd/sockwarden/view":    {"sockwarden/cmd", "os", "flag", "github.com/spf13"}, // it shows what it is given
	}
	for room, others := range forbidden {
		files := 0
		err := filepath.WalkDir(filepath.Join(root, room), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			files++
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			for _, imported := range file.Imports {
				name := strings.Trim(imported.Path.Value, `"`)
				for _, other := range others {
					// A room may use what lies inside it.
					if strings.HasPrefix(name, "sockwarden/"+room+"/") {
						continue
					}
					if strings.HasPrefix(room, "engine/") && name == engineItself && !slices.Contains([]string{"engine/scripted", "engine/ruletest"}, room) {
						t.Errorf("%s imports the engine that it is a part of", path)
					}
					if name == other || strings.HasPrefix(name, other+"/") && other != "net" {
						t.Errorf("%s imports %s", path, name)
					}
				}
			}
			return nil
		})
		if err != nil || files == 0 {
			t.Errorf("%s: %d files, %v", room, files, err)
		}
	}
}

// TestOnlyWorldReachesTheHost checks that no other room of the engine asks the host for
// anything, or for the time. Doctor looks at the host on purpose.
func TestOnlyWorldReachesTheHost(t *testing.T) {
	files := 0
	err := filepath.WalkDir(filepath.Join(root, "engine"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && slices.Contains([]string{"world", "doctor"}, d.Name()) {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files++
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		for _, imported := range file.Imports {
			if name := strings.Trim(imported.Path.Value, `"`); slices.Contains(theHost, name) {
				t.Errorf("%s imports %s", path, name)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			s, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until"}, s.Sel.Name) {
				t.Errorf("%s: time.%s: ask the clock of the world", path, s.Sel.Name)
			}
			return true
		})
		return nil
	})
	if err != nil || files == 0 {
		t.Errorf("%d files, %v", files, err)
	}
}
